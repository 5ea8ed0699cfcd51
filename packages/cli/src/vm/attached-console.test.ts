import { describe, expect, it } from "@jest/globals";
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { AttachedConsole } from "./attached-console.js";

/** A socket whose reader takes nothing until `isFull` is taken back. */
class SlowSocket extends EventEmitter {
  writableNeedDrain = false;
  readonly messages: unknown[] = [];

  write(text: string): void {
    this.messages.push(JSON.parse(text));
  }

  drain(): void {
    this.writableNeedDrain = false;
    this.emit("drain");
  }
}

const output = (text: string) => ({ id: 7, event: { output: Buffer.from(text).toString("base64") } });

function attached(): { readonly socket: SlowSocket; readonly console: AttachedConsole } {
  const socket = new SlowSocket();
  return { socket, console: new AttachedConsole(socket as unknown as Socket, 7) };
}

describe("the console of somebody who is attached", () => {
  it("comes at once to who reads it", () => {
    const { socket, console } = attached();
    console.show(Buffer.from("a"));
    console.show(Buffer.from("b"));
    expect(socket.messages).toEqual([output("a"), output("b")]);
  });

  it("waits for who is behind, and comes in one message, in front of what is told then", () => {
    const { socket, console } = attached();
    socket.writableNeedDrain = true;
    for (const letter of "login: ") console.show(Buffer.from(letter));
    expect(socket.messages).toEqual([]);
    socket.drain();
    socket.writableNeedDrain = true;
    console.show(Buffer.from("x"));
    console.tell({ paused: "handler failed" });
    expect(socket.messages).toEqual([output("login: "), output("x"), { id: 7, event: { paused: "handler failed" } }]);
  });

  it("says how much it leaves out for who reads nothing, at the end too", () => {
    const { socket, console } = attached();
    socket.writableNeedDrain = true;
    console.show(Buffer.alloc(4 * 1024 * 1024, "y"));
    console.show(Buffer.from("lost"));
    console.show(Buffer.from("!"));
    console.end({ status: 0 });
    expect(socket.messages.slice(1)).toEqual([
      { id: 7, event: { leftOut: 5 } },
      { id: 7, ok: { status: 0 } },
    ]);
  });
});
