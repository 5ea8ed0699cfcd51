/** `log` and `stat` of a guest's recording, as people read them. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
const FORWARD = ["--smccc-filter", "0xc6000000+0x100=forward"];
beforeAll(() => sandbox.recordWhole("vm", "scenario=hypercalls", ...FORWARD, "--smccc-filter", "0xc5ffffff+0x1=deny"));
afterAll(() => sandbox.close());

function lines(...words: readonly string[]): string[] {
  return sandbox
    .must(...words)
    .trimEnd()
    .split("\n");
}

describe("log", () => {
  it("has every register of a call's answer on the line of its exit, whoever gave it", () => {
    const calls = lines("log", "--hypercalls");
    const lineOf = (id: string): string => calls.find((line) => line.includes(id)) ?? "";
    expect(lineOf("HVC64  0x8600ff01")).toMatch(/-> x0=0xb66fb428 x1=0xe911c52e x2=0x564bcaa9 x3=0x743a004d  default$/);
    expect(lineOf("HVC64  0x80000000")).toMatch(/-> x0=0x10001 x1=0 x2=0 x3=0  default$/);
    expect(lineOf("HYPERCALL 0xc6000001")).toMatch(/board default +-> x0=-1 +filter event:\d+ forward$/);
    expect(calls.at(-1)).toMatch(/SYSTEM_EVENT 0x84000008 PSCI SYSTEM_OFF +VMM half +-> the VM powered off  default$/);
    // Their events are listed where all are.
    const [exit, answer] = lines("log", "--reason", "HVC64").filter((line) => line.includes("x0=-1  filter"));
    expect(exit).toBeDefined();
    expect(answer).toBeDefined();
    const all = lines("log", "--reason", "HVC64");
    expect(all[all.indexOf(exit ?? "") + 1]).toMatch(/vcpu0 +answer +x0 <- -1$/);
  });

  it("says that a call is pending where the range ends before its answer", () => {
    expect(lines("log", "hypercall:0xc6000001").join()).toMatch(/-> pending +filter event:\d+ forward$/);
    expect(lines("log", "..hypercall:0x8600ff01", "--hypercalls").at(-1)).toMatch(/-> pending  default$/);
    const [json] = lines("log", "hypercall:0xc6000001", "--json");
    expect(JSON.parse(json ?? "")).toMatchObject({ answered: "pending", answer: {} });
  });

  it("says which rule decided about a call, and what that said", () => {
    const ruleOf = (id: string): unknown => {
      const [line] = lines("log", `hypercall:${id}`, "--json");
      const { rule, ruleAction } = JSON.parse(line ?? "") as Record<string, unknown>;
      return [rule, ruleAction];
    };
    expect(ruleOf("0xc5ffffff")).toEqual([7, "deny"]);
    expect(ruleOf("0xc6000001")).toEqual([5, "forward"]);
    expect(ruleOf("0xc6000100")).toEqual([undefined, "default"]);
    expect(lines("log", "hypercall:0xc5ffffff").join()).toMatch(/-> pending +filter event:7 deny$/);
  });

  it("has all that the kernel half gives back at once, as show has it", () => {
    const denied = "x0 <- -1, x1 <- 0, x2 <- 0, x3 <- 0";
    expect(lines("log", "hypercall:0xc5ffffff..", "-n", "2").at(-1)).toMatch(`answer  ${denied}`);
    expect(sandbox.must("show", "hypercall:0xc5ffffff")).toContain(`  answer     not yet given: ${denied}\n`);
    expect(sandbox.must("replay", "--until", "hypercall:0xc5ffffff")).toContain(`  answer, not yet given: ${denied}\n`);
    const uuid = "x0 <- 0xb66fb428, x1 <- 0xe911c52e, x2 <- 0x564bcaa9, x3 <- 0x743a004d";
    expect(sandbox.must("show", "hypercall:0x8600ff01")).toContain(`not yet given: ${uuid}\n`);
    expect(sandbox.must("show", "hypercall:0xc6000001")).toContain("not yet given: x0 <- -1, by board default\n");
  });

  it("gives as many as -n says, from either end", () => {
    expect(lines("log", "-n", "7")).toHaveLength(7);
    const all = lines("log", "--hypercalls");
    const last = lines("log", "--hypercalls", "--reverse", "-n", "3");
    const events = (some: readonly string[]): string[] => some.map((line) => line.split(" ")[0] ?? "");
    expect(events(last)).toEqual(events(all.slice(-3).toReversed()));
    expect(lines("log", "--console", "--reverse", "-n", "1").join()).toContain("console  'power off\\r\\n'");
  });

  it("joins the console to lines, each where its first byte was written", () => {
    const [first] = lines("log", "--console", "-n", "1");
    expect(first).toMatch(/^event:\d+ +exit:\d+ +console +'bare-metal guest: .* Hz\\r\\n'$/);
    const at = /event:\d+/.exec(first ?? "")?.[0] ?? "";
    expect(lines("log", at).join()).toMatch(/output +console 'b'$/);
  });

  it("refuses a range whose ends are in the wrong order", () => {
    for (const command of ["log", "stat"])
      expect(sandbox.run(command, "exit:20..exit:10")).toMatchObject({
        status: 129,
        stdout: "",
        stderr:
          "error: the range exit:20..exit:10 is reversed: exit:10 lies before exit:20; did you mean exit:10..exit:20?\nnext: hvjournal help positions\n",
      });
  });
});

describe("a call that waits for the VMM half", () => {
  const place = "hypercall:0xc6000001";
  beforeAll(() => {
    sandbox.recordWhole("waits", "scenario=hypercalls", ...FORWARD, "--until", place);
    sandbox.must("record", "--from", `vm.hvj@${place}`, "--headless", "-q", "--no-index", "-o", "branch.hvj");
  });

  it("is pending where the recording ends before its answer", () => {
    const wanted = "pending: the VMM half's answer (x0 to x3)\n";
    expect(sandbox.must("show", "waits.hvj", place)).toContain(`  answer     ${wanted}`);
    expect(sandbox.must("replay", "waits.hvj")).toContain(`  answer, ${wanted}`);
    const json = JSON.parse(sandbox.must("replay", "waits.hvj", "--json")) as unknown;
    expect(json).toMatchObject({ answered: "pending", answer: [], rule: 5, ruleAction: "forward" });
  });

  it("is named where it is answered in another recording than it was made in", () => {
    const made =
      /answer +x0 <- -1 +board default +to HVC64 HYPERCALL 0xc6000001 x1=0x1111 .*, made in the parent recording/;
    expect(lines("log", "branch.hvj", "--hypercalls")[0]).toMatch(made);
    expect(lines("log", "branch.hvj", "-n", "2").at(-1)).toMatch(made);
    expect(sandbox.must("show", "branch.hvj", "start")).toContain("not yet given: x0 <- -1, by board default\n");
  });

  it("has its rule in a recording that came after the rule, and so have later calls there", () => {
    expect(lines("log", "branch.hvj", "--hypercalls")[1]).toMatch(/SMC64 .* x0=-1 +filter event:5 forward$/);
    const [later] = lines("log", "branch.hvj", "hypercall:0xc6000040", "--json");
    expect(JSON.parse(later ?? "")).toMatchObject({ rule: 5, ruleAction: "forward" });
    expect(sandbox.must("show", "branch.hvj", "hypercall:0xc6000040")).toContain(
      "  decided    forward: filter 0xc6000000+0x100 (event:5)\n",
    );
  });
});

describe("stat", () => {
  it("shows the busiest rows, says how many more there are, and lists all on request", () => {
    const [header, ...rest] = lines("stat", "--event", "hypercall", "-n", "3");
    expect(header).toMatch(/^ +HYPERCALL +Samples +Samples%/);
    expect(rest).toHaveLength(5);
    const left = Number(/^… and (\d+) more rows with \d+ samples \(--all lists them\)$/.exec(rest[3] ?? "")?.[1]);
    expect(lines("stat", "--event", "hypercall", "--all")).toHaveLength(1 + 3 + left + 1);
  });
});
