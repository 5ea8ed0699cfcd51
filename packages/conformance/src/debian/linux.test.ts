/** One boot of Debian's arm64 kernel, and what its recording is good for. */
import { testBoot } from "./boot-tests.js";
import { linuxForTests } from "./linux-guest.js";

testBoot(await linuxForTests("arm64"));
