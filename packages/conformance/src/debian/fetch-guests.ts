/** `npm run fetch-guests`: fetches the newest stock guest and says where it is. */
import { fetchStockGuest } from "./stock-guest.js";

const guest = await fetchStockGuest({ refresh: true });
for (const [name, value] of Object.entries(guest)) process.stdout.write(`${name}: ${value}\n`);
