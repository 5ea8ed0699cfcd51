#!/usr/bin/env node
import { main } from "../dist/hvjournal.js";
process.exitCode = await main(process.argv.slice(2));
