/** Debian's arm64 kernel moves while a call waits. */
import { jest } from "@jest/globals";
import { linuxForTests } from "./linux-guest.js";
import { testMove } from "./move-tests.js";

jest.setTimeout(300_000);

testMove(await linuxForTests("arm64"));
