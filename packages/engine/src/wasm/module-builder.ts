/** Builds one WebAssembly module: functions that share an imported memory and table. */
import { ByteWriter } from "./byte-writer.js";
import { FunctionBuilder } from "./function-builder.js";

/** Value types as in `ValueType`. */
export interface Signature {
  readonly parameters: readonly number[];
  readonly results: readonly number[];
}

const MAGIC_AND_VERSION = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const Section = { type: 1, import: 2, function: 3, export: 7, code: 10 } as const;
const ImportKind = { function: 0, table: 1, memory: 2 } as const;
const FUNCREF = 0x70;

export class ModuleBuilder {
  readonly #types: Signature[] = [];
  readonly #functionImports: { readonly name: string; readonly type: number }[] = [];
  readonly #functions: {
    readonly type: number;
    readonly exportName: string | undefined;
    readonly builder: FunctionBuilder;
  }[] = [];
  readonly #memoryPages: { readonly initial: number; readonly maximum: number };
  #importsTable = false;

  constructor(memoryPages: { readonly initial: number; readonly maximum: number }) {
    this.#memoryPages = memoryPages;
  }

  type(signature: Signature): number {
    const key = JSON.stringify(signature);
    const known = this.#types.findIndex((type) => JSON.stringify(type) === key);
    return known >= 0 ? known : this.#types.push(signature) - 1;
  }

  /** The table of handlers, for call_indirect. */
  importTable(): void {
    this.#importsTable = true;
  }

  /** Imports a function (once a name) and gives its index. All imports come before the first function. */
  importFunction(name: string, signature: Signature): number {
    const known = this.#functionImports.findIndex((item) => item.name === name);
    if (known >= 0) return known;
    if (this.#functions.length > 0) throw new Error(`import of ${name} after the first function`);
    return this.#functionImports.push({ name, type: this.type(signature) }) - 1;
  }

  /** Adds a function whose body the builder holds when `finish` is called; gives its index. */
  addFunction(signature: Signature, exportName?: string): { readonly index: number; readonly code: FunctionBuilder } {
    const builder = new FunctionBuilder(signature.parameters.length);
    const index =
      this.#functionImports.length + this.#functions.push({ type: this.type(signature), exportName, builder }) - 1;
    return { index, code: builder };
  }

  finish(): Uint8Array {
    const out = new ByteWriter(4096);
    out.bytes(MAGIC_AND_VERSION);
    this.#writeTypes(out);
    this.#writeImports(out);
    section(out, Section.function, (body) => {
      body.unsigned(this.#functions.length);
      for (const item of this.#functions) body.unsigned(item.type);
    });
    this.#writeExports(out);
    section(out, Section.code, (body) => {
      body.unsigned(this.#functions.length);
      for (const item of this.#functions) item.builder.writeTo(body);
    });
    return out.view().slice();
  }

  #writeTypes(out: ByteWriter): void {
    section(out, Section.type, (body) => {
      body.unsigned(this.#types.length);
      for (const type of this.#types) {
        body.byte(0x60);
        body.unsigned(type.parameters.length);
        body.bytes(type.parameters);
        body.unsigned(type.results.length);
        body.bytes(type.results);
      }
    });
  }

  #writeImports(out: ByteWriter): void {
    section(out, Section.import, (body) => {
      body.unsigned(this.#functionImports.length + 1 + (this.#importsTable ? 1 : 0));
      for (const item of this.#functionImports) {
        body.name("engine");
        body.name(item.name);
        body.byte(ImportKind.function);
        body.unsigned(item.type);
      }
      body.name("engine");
      body.name("memory");
      body.byte(ImportKind.memory);
      body.byte(1);
      body.unsigned(this.#memoryPages.initial);
      body.unsigned(this.#memoryPages.maximum);
      if (this.#importsTable) {
        body.name("engine");
        body.name("table");
        body.byte(ImportKind.table);
        body.byte(FUNCREF);
        body.byte(0);
        body.unsigned(1);
      }
    });
  }

  #writeExports(out: ByteWriter): void {
    const exported = this.#functions.flatMap((item, index) =>
      item.exportName === undefined ? [] : [{ name: item.exportName, index }],
    );
    section(out, Section.export, (body) => {
      body.unsigned(exported.length);
      for (const item of exported) {
        body.name(item.name);
        body.byte(0);
        body.unsigned(this.#functionImports.length + item.index);
      }
    });
  }
}

function section(out: ByteWriter, id: number, write: (body: ByteWriter) => void): void {
  const body = new ByteWriter(1024);
  write(body);
  out.byte(id);
  out.unsigned(body.length);
  out.bytes(body.view());
}
