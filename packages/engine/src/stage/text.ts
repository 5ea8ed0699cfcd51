/**
 * The text stage: a program as lines that people read and tests expect. One effect a line,
 * values where they are used, `tN` where a value is used more than once.
 *
 *     t0 = add64(u64[Rn], imm)
 *     u64[Rd] <- t0
 */
import type { Block, EffectItem, Program, ValueNode } from "./program.js";
import { schedule } from "./schedule.js";
import type { StateLayout } from "./state-layout.js";

export interface TextOptions {
  /** Gives state fields their names; without it they are offsets. */
  readonly layout?: StateLayout;
  /** Values of operands, as compiled code has them; without one the operand's name stands. */
  readonly operands?: Readonly<Record<string, number | bigint>>;
}

export function programText(program: Program, options: TextOptions = {}): string[] {
  schedule(program);
  const printer = new Printer(options);
  printer.block(program.root, "");
  if (!program.alwaysEnds) printer.lines.push("next");
  return printer.lines;
}

class Printer {
  readonly lines: string[] = [];
  readonly #options: TextOptions;
  readonly #names = new Map<object, string>();
  readonly #stateNames = new Map<number, string>();

  constructor(options: TextOptions) {
    this.#options = options;
    const { layout } = options;
    for (const field of [...(layout?.fields ?? []), ...(layout?.cacheFields ?? [])])
      this.#stateNames.set(field.offset, field.name);
    for (const array of layout?.arrays ?? []) {
      for (let index = 0; index < array.count; index++)
        this.#stateNames.set(array.offset + (index * array.width) / 8, `${array.name}${index}`);
    }
  }

  block(block: Block, indent: string): void {
    for (const item of block.items) {
      if (item.type !== "value") this.#effect(item, indent);
      else if (item.needsLocal) this.lines.push(`${indent}${this.#name(item, "t")} = ${this.#expression(item)}`);
    }
  }

  #effect(item: EffectItem, indent: string): void {
    const line = (text: string): void => void this.lines.push(indent + text);
    switch (item.type) {
      case "writeState":
        return line(`${this.#state(item.offset)} <- ${this.#value(item.value)}`);
      case "writeStateAt":
        return line(`u${item.value.width}[${this.#address(item.address, item.offset)}] <- ${this.#value(item.value)}`);
      case "access":
        return line(
          `${this.#name(item, "m")} = ${item.mode} ${item.bytes} bytes at ${this.#value(item.address)}${item.alignment > 1 ? `, aligned to ${item.alignment}` : ""}${item.unprivileged ? ", unprivileged" : ""}${item.privileged ? ", privileged" : ""}${item.faultDetail === undefined ? "" : `, detail ${this.#value(item.faultDetail)}`}`,
        );
      case "storeMemory":
        return line(`${this.#name(item.access, "m")}[${item.offset}] <-${item.bits} ${this.#value(item.value)}`);
      case "setVariable":
        return line(`${item.variable.name} = ${this.#value(item.value)}`);
      case "if":
        line(`if ${this.#value(item.condition)}`);
        this.block(item.then, `${indent}  `);
        if (item.otherwise === undefined) return;
        line("else");
        return this.block(item.otherwise, `${indent}  `);
      case "loop":
        line("repeat");
        this.block(item.body, `${indent}  `);
        return line(`while ${item.condition === undefined ? "" : this.#value(item.condition)}`);
      case "callRoutine":
        return line(
          `${item.result === undefined ? "" : `${this.#name(item.result, "t")} = `}call ${item.routine.name}(${this.#list(item.args)})`,
        );
      case "callHost":
        return line(`${this.#name(item.result, "t")} = host ${item.host.name}(${this.#list(item.args)})`);
      case "readPageTable":
        line(
          `${this.#name(item.result, "t")} = page-table entry u${item.bits} at ${this.#value(item.physical)}, where absent`,
        );
        return this.block(item.onAbsent, `${indent}  `);
      case "return":
        return line(`return${item.value === undefined ? "" : ` ${this.#value(item.value)}`}`);
      case "jump":
        return line(`jump ${this.#value(item.target)}${item.contextChanged ? ", context changed" : ""}`);
      case "endBlock":
        return line(`end block: ${item.reason}`);
      case "raise":
        return line(`raise ${item.routine.name}(${this.#list(item.args)})`);
      case "exitBefore":
        return line(`exit before ${item.code}(${this.#list(item.operands)})`);
      case "exitAfter":
        return line(`exit after ${item.code}(${this.#list(item.operands)})`);
      default:
        return item satisfies never;
    }
  }

  #list(values: readonly ValueNode[]): string {
    return values.map((value) => this.#value(value)).join(", ");
  }

  #value(value: ValueNode): string {
    return value.needsLocal ? this.#name(value, "t") : this.#expression(value);
  }

  #expression(value: ValueNode): string {
    const { op } = value;
    switch (op.kind) {
      case "constant32":
      case "constant64":
        return String(op.value);
      case "constant128":
        return `0x${((op.high << 64n) | op.low).toString(16)}`;
      case "operand":
        return String(this.#options.operands?.[op.name] ?? op.name);
      case "parameter":
        return `p${op.index}`;
      case "variable":
        return op.variable.name;
      case "result":
        return this.#name(value, "t");
      case "pc":
        return "pc";
      case "nextPc":
        return "next pc";
      case "readState":
        return this.#state(op.offset);
      case "readStateAt":
        return `u${value.width}[${this.#address(value.args[0], op.offset)}]`;
      case "loadMemory":
        return `${this.#name(op.access, "m")}[${op.offset}]:${op.bits}`;
      case "select":
        return `select(${this.#list([value.args[2], value.args[0], value.args[1]].filter((arg) => arg !== undefined))})`;
      case "multiplyHigh":
        return `multiply high ${op.signed ? "signed" : "unsigned"}(${this.#list(value.args)})`;
      case "lane":
        return `${op.name} ${op.lane}(${this.#list(value.args)})`;
      case "shuffle":
        return `shuffle ${op.lanes.join(" ")}(${this.#list(value.args)})`;
      case "wasm":
      case "floatWasm":
        return `${op.name}(${this.#list(value.args)})`;
      default:
        return op satisfies never;
    }
  }

  #state(offset: number): string {
    return this.#stateNames.get(offset) ?? `state[0x${offset.toString(16)}]`;
  }

  #address(address: ValueNode | undefined, offset: number): string {
    if (address === undefined) return String(offset);
    const text = this.#value(address);
    const known = /^\d+$/.test(text) ? this.#stateNames.get(Number(text) + offset) : undefined;
    return known ?? (offset === 0 ? text : `${text} + ${offset}`);
  }

  #name(thing: object, prefix: string): string {
    const known = this.#names.get(thing);
    if (known !== undefined) return known;
    const count = [...this.#names.values()].filter((name) => name.startsWith(prefix)).length;
    const name = `${prefix}${count}`;
    this.#names.set(thing, name);
    return name;
  }
}
