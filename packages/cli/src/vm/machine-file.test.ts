import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import fc from "fast-check";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CliError } from "../cli-error.js";
import type { Arguments } from "../commands/command.js";
import { machineFileArguments, readMachineFile } from "./machine-file.js";
import { mergedArguments } from "./record-request.js";

let directory: string;
let path: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hvjournal-machine-"));
  path = join(directory, "vm.yaml");
});
afterAll(() => rmSync(directory, { recursive: true }));

function argumentsOf(text: string): Arguments {
  writeFileSync(path, text);
  return machineFileArguments(path);
}

function errorOf(content: string | Uint8Array): CliError {
  writeFileSync(path, content);
  try {
    machineFileArguments(path);
  } catch (error) {
    if (error instanceof CliError) return error;
    throw error;
  }
  throw new Error(`accepted: ${String(content)}`);
}

/** All that is told, without the directory. */
function told(content: string | Uint8Array): string[] {
  const { message, details } = errorOf(content);
  return [message, ...details].map((line) => line.replaceAll(path, "vm.yaml"));
}

describe("a machine file", () => {
  it("gives what the command line gives: texts, flags, and lists of what may be repeated", () => {
    const text = `
smp: 2
memory: 512M
exit-model: kvm-arm64
append: console=ttyAMA0 root=/dev/vda
rtc: 2026-01-01
snapshot-every: 64M
timeout: 1.5s
until: 'console:/login: $/'
headless: true
index: false
`;
    expect(argumentsOf(text)).toEqual({
      smp: "2",
      memory: "512M",
      "exit-model": "kvm-arm64",
      append: "console=ttyAMA0 root=/dev/vda",
      rtc: "2026-01-01",
      "snapshot-every": "64M",
      timeout: "1.5s",
      until: "console:/login: $/",
      headless: true,
      index: false,
    });
  });

  it("takes an option's own text and a map for the KVM surface, and one item for a list of one", () => {
    const text = `
cap: [ARM_SYSTEM_SUSPEND, {name: ARM_EAGER_SPLIT_CHUNK_SIZE, args: [0x1000, 1]}, {name: ARM_MTE}]
smccc-filter:
  - 0xc6000000+0x100=forward
  - {base: 0xc7000000, count: 256, action: deny}
firmware-reg: {STD_HYP_BMAP: 0xffffffffffffffff, PSCI_VERSION: 0x10003}
`;
    expect(argumentsOf(text)).toEqual({
      cap: ["ARM_SYSTEM_SUSPEND", "ARM_EAGER_SPLIT_CHUNK_SIZE=4096,1", "ARM_MTE"],
      "smccc-filter": ["0xc6000000+0x100=forward", "0xc7000000+0x100=deny"],
      "firmware-reg": ["STD_HYP_BMAP=18446744073709551615", "PSCI_VERSION=65539"],
    });
    expect(argumentsOf("cap: ARM_MTE\nfirmware-reg: [STD_BMAP=1, {STD_HYP_BMAP: 0}]\n")).toEqual({
      cap: ["ARM_MTE"],
      "firmware-reg": ["STD_BMAP=1", "STD_HYP_BMAP=0"],
    });
    expect(argumentsOf("policy: {arm.smccc.default: forward-unhandled}\npvtime-ipa: {0: 0x41000000}")).toEqual({
      policy: ["arm.smccc.default=forward-unhandled"],
      "pvtime-ipa": [`0=${0x4100_0000}`],
    });
    expect(argumentsOf("smccc-filter: {base: 0x84000000, count: 1, action: handle}")).toEqual({
      "smccc-filter": ["0x84000000+0x1=handle"],
    });
  });

  it("loses no bit of a number", () => {
    const numbers = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    const check = fc.property(numbers, numbers, fc.boolean(), (seed, value, isHexadecimal) => {
      const written = (number: bigint): string => (isHexadecimal ? `0x${number.toString(16)}` : String(number));
      const args = argumentsOf(`seed: ${written(seed)}\nfirmware-reg: {STD_BMAP: ${written(value)}}`);
      expect(args).toEqual({ seed: String(seed), "firmware-reg": [`STD_BMAP=${value}`] });
    });
    fc.assert(check, { numRuns: 50 });
  });

  it("names files beside itself, and absolute ones as they are", () => {
    const text = "kernel: Image\ninitrd: ../initrd.gz\ninput: /etc/typed\nsymbols: [vmlinux]\nfrom: a.hvj@exit:4";
    expect(argumentsOf(text)).toEqual({
      kernel: join(directory, "Image"),
      initrd: join(directory, "..", "initrd.gz"),
      input: "/etc/typed",
      symbols: [join(directory, "vmlinux")],
      from: join(directory, "a.hvj@exit:4"),
    });
    expect(argumentsOf("drive: [{file: a.img, readonly: true, id: root}, 'id=x,file=b.img', {file: /c.img}]")).toEqual({
      drive: [`file=${directory}/a.img,readonly=on,id=root`, `id=x,file=${directory}/b.img`, "file=/c.img"],
    });
  });

  it("says where an option is given", () => {
    writeFileSync(path, "smp: 99\ncap:\n  - A\n  - B\nfirmware-reg: {C: 1, D: 2}\n");
    const file = readMachineFile(path);
    expect(file.placeOf("smp")).toBe(`${path}:1:6`);
    expect(file.placeOf("cap", "B")).toBe(`${path}:4:5`);
    expect(file.placeOf("firmware-reg", "D=2")).toBe(`${path}:5:25`);
    expect(file.placeOf("cpu")).toBeUndefined();
  });
});

describe("the command line goes before the file", () => {
  const file = { smp: "2", kernel: "a", headless: true, cap: ["A", "B"] };
  it.each<[given: Arguments, merged: Arguments]>([
    [{}, file],
    [
      { smp: "4", headless: false },
      { ...file, smp: "4", headless: false },
    ],
    [{ kernel: "b" }, { ...file, kernel: "b" }],
    [{ image: "b" }, { smp: "2", image: "b", headless: true, cap: ["A", "B"] }],
    [
      { cap: "C", symbols: ["x", "y"] },
      { ...file, cap: ["A", "B", "C"], symbols: ["x", "y"] },
    ],
  ])("%j", (given, merged) => expect(mergedArguments(file, given)).toEqual(merged));
});

describe("what is wrong with a machine file", () => {
  it.each([
    ["smpp: 4", "vm.yaml:1:1: smpp is no key; did you mean smp?"],
    ["config: a.yaml", "vm.yaml:1:1: config is said on the command line only"],
    ["<<: {smp: 1}", "vm.yaml:1:1: << is no key: every option of record is one"],
    ["__proto__: {smp: 1}", "vm.yaml:1:1: __proto__ is no key: every option of record is one"],
    ["smp:", "vm.yaml:1:5: smp: expected a whole number such as 7 or 0x7, not nothing"],
    ["smp: 1.5", "vm.yaml:1:6: smp: expected a whole number such as 7 or 0x7, not the number 1.5"],
    ["seed: -1", "vm.yaml:1:7: seed: expected a whole number such as 7 or 0x7, not the number -1"],
    ["headless: yes", "vm.yaml:1:11: headless: expected true or false, not the text yes"],
    ["name: 007", "vm.yaml:1:7: name: expected text of one line, not the number 7"],
    ["timeout: 60", "vm.yaml:1:10: timeout: expected a time such as 60s or 500ms, not the number 60"],
    ["memory: [1]", "vm.yaml:1:9: memory: expected a size such as 256M or 1G (a number alone is MiB), not a list"],
    [
      "arch: arm46",
      "vm.yaml:1:7: arch: expected one of arm64, aarch64, amd64, x86_64, not the text arm46; did you mean arm64?",
    ],
    [
      "append: |\n  a\n  b\n",
      "vm.yaml:1:9: append: expected text of one line, not text of several lines (>- and |- leave the last break out)",
    ],
    [
      "cap: [A, 5]",
      "vm.yaml:1:10: cap[1]: expected NAME[=ARG,...] or {name: NAME, args: [ARG, ...]}, not the number 5",
    ],
    ["cap: {name: A, arg: 1}", "vm.yaml:1:16: cap: arg is no key; did you mean args?"],
    [
      "smccc-filter:\n- {base: 1, cout: 2, action: deny}",
      "vm.yaml:2:13: smccc-filter[0]: cout is no key; did you mean count?",
    ],
    ["smccc-filter: [{base: 1, count: 2}]", "vm.yaml:1:16: smccc-filter[0]: action is missing"],
    [
      "smccc-filter: [{base: x, count: 2, action: deny}]",
      "vm.yaml:1:23: smccc-filter[0].base: expected a whole number such as 7 or 0x7, not the text x",
    ],
    ["firmware-reg:\n  A: [1]", "vm.yaml:2:6: firmware-reg.A: expected a number, or text of one line, not a list"],
    ["drive: [{id: a}]", "vm.yaml:1:9: drive[0]: file is missing"],
  ])("%j", (text, message) => expect(told(text)).toEqual([message]));

  it.each([
    ["", "vm.yaml is empty: it holds no machine"],
    ["# a comment\n", "vm.yaml is empty: it holds no machine"],
    ["---\n", "vm.yaml is empty: it holds no machine"],
    ["- smp", "vm.yaml:1:1: expected `key: value` lines, not a list"],
    ["smp", "vm.yaml:1:1: expected `key: value` lines, not text"],
    ["smp: 1\n---\nsmp: 2\n", "vm.yaml:2:1: a second document: a machine file holds one machine"],
    ["smp: 1\ncpu: a\nsmp: 1\n", "vm.yaml:3:1: smp is given a second time"],
    ["firmware-reg:\n  A: 1\n  A: 2\n", "vm.yaml:3:3: A is given a second time"],
    ["until: console:/login: $/", "vm.yaml:1:8: a value that holds `: ` must stand between quotes"],
    ["cpu: !x a", "vm.yaml:1:6: unknown tag !x: a machine file has no tags of its own"],
    ["[a]: b", "vm.yaml:1:1: a key is a word: an option of record"],
    ["%YAML 1.1\n---\nheadless: yes\n", "vm.yaml: %YAML 1.1: a machine file is YAML 1.2"],
    ["smp: 1\n\tcpu: a", "vm.yaml:2:1: tabs are not allowed as indentation"],
  ])("as YAML: %j", (text, message) => expect(told(text)).toEqual([message]));

  it.each(["cpu: &a x\nname: *a", "cpu: *a", "until: &jiffies == 5", "until: *(u64 *)0x4000 == 5", "&a cpu: x"])(
    "a reference is no value: %j",
    (text) => {
      expect(told(text)).toEqual([
        expect.stringContaining(
          "a machine file has no aliases, and text that begins with * or & must stand between quotes",
        ),
      ]);
    },
  );

  it("is told at once, in the order of the file, and is wrong usage", () => {
    const text = "until: 5\nsmpp: 1\ncap:\n- 1\n- 2\nsmp: x\n";
    expect(told(text).map((line) => line.split(" ")[0])).toEqual(
      ["1:8", "2:1", "4:3", "5:3", "6:6"].map((place) => `vm.yaml:${place}:`),
    );
    expect(errorOf(text)).toMatchObject({ status: 129, next: "hvjournal help machine-file" });
  });

  it("where it is no text, or far too long, names the way to run it as a kernel", () => {
    expect(errorOf(Uint8Array.of(0x4d, 0x5a, 0xff, 0xfe))).toMatchObject({
      status: 129,
      message: `${path} is no machine file: it is no text in UTF-8`,
      next: `hvjournal record ${path}`,
    });
    expect(errorOf(new Uint8Array((1 << 20) + 1)).message).toContain("a machine file is YAML of at most 1048576 bytes");
  });

  it("where it can't be read, is an error", () => {
    const missing = join(directory, "none.yaml");
    expect(() => machineFileArguments(missing)).toThrow(
      expect.objectContaining({
        status: 128,
        message: expect.stringContaining(`can't read machine file ${missing}: `),
      }),
    );
    expect(() => machineFileArguments(directory)).toThrow(`can't read machine file ${directory}: `);
  });
});
