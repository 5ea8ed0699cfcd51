import { describe, expect, it } from "@jest/globals";
import { ConsoleMatcher } from "../console-matcher.js";
import { formatGuestTime, parseGuestTime } from "../guest-time.js";
import { InputScript, InputScriptError, parseInputScript } from "./input-script.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("an input script", () => {
  it("is read line by line", () => {
    const entries = parseInputScript(
      '# login\n\nat console /login: $/ send "root\\n"\n at time 1.5s send "\\x03\\e[A\\"" ',
    );
    expect(entries).toEqual([
      { at: { console: /login: $/ }, bytes: bytes("root\n") },
      { at: { timeNs: 1_500_000_000 }, bytes: bytes('\x03\x1b[A"') },
    ]);
  });

  it.each([
    ['at console login send "x"', /line 1: expected 'at console/],
    ['\nat time 5 send "x"', /line 2: '5' is no time/],
    ['at console /(/ send "x"', /line 1: .*(Unterminated|Invalid)/],
    ['at console /a/ send "\\q"', /line 1: unknown escape \\q/],
    ["at console /a/ send x", /line 1: expected/],
  ])("says in which line it can't be read: %s", (text, reason) => {
    expect(() => parseInputScript(text)).toThrow(InputScriptError);
    expect(() => parseInputScript(text)).toThrow(reason);
  });

  it("waits for one line after the other, and what was written before does not count", () => {
    const script = new InputScript(
      parseInputScript('at console /a/ send "1"\nat console /a/ send "2"\nat time 10ns send "3"'),
    );
    expect(script.takeDue(100)).toEqual([]);
    script.noteOutput(1, bytes("a"));
    expect(script.takeDue(100)).toEqual([]);
    script.noteOutput(0, bytes("ba"));
    expect(script.takeDue(0)).toEqual([{ port: 0, bytes: bytes("1") }]);
    expect(script.takeDue(0)).toEqual([]);
    script.noteOutput(0, bytes("a"));
    expect(script.nextTimeNs).toBeUndefined();
    expect(script.takeDue(9)).toEqual([{ port: 0, bytes: bytes("2") }]);
    expect(script.nextTimeNs).toBe(10);
    expect(script.left.length).toBe(1);
    expect(script.takeDue(10)).toEqual([{ port: 0, bytes: bytes("3") }]);
  });
});

describe("^ of a script's line", () => {
  const entries = parseInputScript('at console /a/ send "1"\nat console /^b/ send "2"\n');
  const due = (script: InputScript, text: string): number => {
    script.noteOutput(0, bytes(text));
    return script.takeDue(0).length;
  };

  it("is no place within a console line, also where the line before it has just been sent", () => {
    const script = new InputScript(entries);
    expect(["xa", "b", "\nb"].map((text) => due(script, text))).toEqual([1, 0, 1]);
  });

  it("is known to one that goes on where another stood", () => {
    const first = new InputScript(entries);
    due(first, "xa");
    const second = InputScript.restore(first.save());
    expect(["b", "\r\nb"].map((text) => due(second, text))).toEqual([0, 1]);
  });
});

describe("a console expression", () => {
  it("matches at the byte that completes it, also across pieces, and in UTF-8", () => {
    const matcher = new ConsoleMatcher(/login: $/g);
    expect(matcher.pushAll(bytes("xx login"))).toBe(0);
    expect([...bytes(": y")].map((byte) => matcher.push(byte))).toEqual([false, true, false]);
    expect(new ConsoleMatcher(/€/).pushAll(bytes("a€b€"))).toBe(2);
    expect(new ConsoleMatcher(/aa/).pushAll(bytes("aaaa"))).toBe(2);
  });
});

describe("guest time", () => {
  it.each([
    ["1.65s", 1_650_000_000],
    ["20ms", 20_000_000],
    ["7us", 7000],
    ["12ns", 12],
    ["0.000000001s", 1],
    ["1.912s", 1_912_000_000],
  ])("%s is %d ns and can be printed back", (text, nanoseconds) => {
    expect(parseGuestTime(text)).toBe(nanoseconds);
    expect(parseGuestTime(formatGuestTime(nanoseconds))).toBe(nanoseconds);
  });

  it("is a whole number of nanoseconds with a unit, or nothing", () => {
    for (const text of ["1", "s", "-1s", "1.5ns", "1e3s", "1 s"]) expect(parseGuestTime(text)).toBeUndefined();
    expect(formatGuestTime(825_000_000)).toBe("0.825s");
    expect(formatGuestTime(1_912_345_000)).toBe("1.912345s");
  });
});
