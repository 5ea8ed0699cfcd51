/** The determinism of Debian's amd64 kernel. */
import { testDeterminism } from "./determinism-tests.js";
import { linuxForTests } from "./linux-guest.js";

testDeterminism(await linuxForTests("amd64"), 4);
