/** One boot of Debian's amd64 kernel, and what its recording is good for. */
import { testBoot } from "./boot-tests.js";
import { linuxForTests } from "./linux-guest.js";

testBoot(await linuxForTests("amd64"));
