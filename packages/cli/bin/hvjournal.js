#!/usr/bin/env node
import { loadBundle } from "./bundle.js";

/** Loading takes a while. A signal that comes meanwhile waits for the command, which listens from its first moment on. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
const wait = () => undefined;
for (const signal of signals) process.on(signal, wait);
const { main, endProcess } = loadBundle();
const ended = main(process.argv.slice(2));
for (const signal of signals) process.off(signal, wait);
await endProcess(await ended);
