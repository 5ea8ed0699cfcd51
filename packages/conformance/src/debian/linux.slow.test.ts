/** The determinism of Debian's arm64 kernel. */
import { testDeterminism } from "./determinism-tests.js";
import { linuxForTests } from "./linux-guest.js";

testDeterminism(await linuxForTests("arm64"), 20);
