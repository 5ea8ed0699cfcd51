#!/usr/bin/env node
import { loadBundle } from "./bundle.js";
const { main, endProcess } = loadBundle();
await endProcess(await main(process.argv.slice(2)));
