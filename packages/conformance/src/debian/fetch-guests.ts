/** `npm run fetch-guests`: fetches the newest stock guests and says where they are. */
import { fetchStockGuest } from "./stock-guest.js";

for (const architecture of ["arm64", "amd64"] as const) {
  const guest = await fetchStockGuest({ architecture, refresh: true });
  for (const [name, value] of Object.entries(guest)) process.stdout.write(`${architecture} ${name}: ${value}\n`);
}
