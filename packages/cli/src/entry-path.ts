import { fileURLToPath } from "node:url";

/** The program, to start it again. This file lies as deep as the bundle, in which it is found as well. */
export const ENTRY_PATH = fileURLToPath(new URL("../bin/hvjournal.js", import.meta.url));
