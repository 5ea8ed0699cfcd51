import { fileURLToPath } from "node:url";

/** The schema of a machine file, as it is shipped. This file lies as deep as the bundle, from which it is found as well. */
export const MACHINE_SCHEMA_PATH = fileURLToPath(new URL("../machine.schema.json", import.meta.url));
