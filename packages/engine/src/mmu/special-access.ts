/**
 * Accesses that the generated code leaves to TypeScript: across pages, to devices, and to
 * pages whose state forbids a fast entry. Bounced bytes are written when the instruction ends.
 */
import { AccessKind, type CpuDefinition } from "../cpu-definition.js";
import { BOUNCE_BYTES, BOUNCE_START, engineFields, engineState, FRAGMENT_COUNT_MAX } from "../engine-fields.js";
import type { GuestRam } from "../memory/guest-ram.js";
import { AccessInfo, PageState, SlowResult, type TlbGeometry } from "./tlb-layout.js";

/** At most this many bytes leave in one device access. */
const FRAGMENT_BYTES_MAX = 8;

/** Bytes of an access in one page. */
interface Piece {
  readonly physical: number;
  readonly bytes: number;
  readonly isRam: boolean;
}

/** Bounced bytes that go out when the instruction ends. */
export interface PendingWrite {
  readonly physical: number;
  readonly bytes: number;
  readonly bounce: number;
  readonly isRam: boolean;
}

export interface SpecialAccessOptions {
  readonly buffer: ArrayBuffer;
  readonly cpu: CpuDefinition;
  readonly geometry: TlbGeometry;
  readonly ram: GuestRam;
  readonly translate: (virtual: bigint, kind: number, privilege: number) => number;
  /** Whether a write to this page of code must end its instruction's block: compiled code can't be patched under it. */
  readonly bouncesCode: (pageIndex: number) => boolean;
}

export class SpecialAccesses {
  readonly #options: SpecialAccessOptions;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  #bounceNext = 0;
  /** Bytes of the bounce buffer that may not be zero. */
  #bounceUsed = BOUNCE_BYTES;
  #fragmentCursor = 0;
  #pending: PendingWrite[] = [];
  /** Empty; changes places with `#pending` whenever that goes out. */
  #noWrites: PendingWrite[] = [];
  /** Device writes that are on their way out, the first one being the exit. */
  #deviceWrites: PendingWrite[] = [];
  /** The last finish dropped what was derived from page tables or code. */
  #derivedChanged = false;

  constructor(options: SpecialAccessOptions) {
    this.#options = options;
    this.#view = new DataView(options.buffer);
    this.#bytes = new Uint8Array(options.buffer);
  }

  /** The host function `specialAccess`. */
  access(info: number): number {
    this.#beginInstruction(info);
    const writes = (info & AccessInfo.write) !== 0;
    const reads = !writes || (info & AccessInfo.alsoReads) !== 0;
    const bytes = info & AccessInfo.bytesMask;
    if ((this.#view.getUint32(engineState.accessAddress.offset, true) % 4096) + bytes > 4096)
      return this.#accessAcross(info, reads, writes);
    const physical = this.#translatedPhysical();
    const only = { physical, bytes, isRam: this.#isRam(physical) };
    const direct = only.isRam ? this.#prepareRam(only, writes, info) : undefined;
    return direct ?? this.#bounce([only], reads, writes);
  }

  #accessAcross(info: number, reads: boolean, writes: boolean): number {
    const pieces = this.#translatePieces(this.#view.getBigUint64(engineState.accessAddress.offset, true), info);
    return pieces === undefined ? SlowResult.fault : this.#bounce(pieces, reads, writes);
  }

  /** Of an access within a page the generated code has translated the address already. */
  #translatedPhysical(): number {
    const { offset } = engineFields.translatedPhysical;
    return this.#view.getUint32(offset, true) + this.#view.getUint32(offset + 4, true) * 2 ** 32;
  }

  /** The host function `finishWrites`: 1 when the instruction must leave (devices, changed translations, a watch). */
  finish(): number {
    const pending = this.#pending;
    this.#pending = this.#noWrites;
    this.#bounceNext = 0;
    for (const write of pending) {
      if (write.isRam) this.#writeRam(write.physical, this.#bytes.subarray(write.bounce, write.bounce + write.bytes));
      else this.#queueDeviceWrite(write);
    }
    this.#noWrites = pending;
    while (pending.length > 0) pending.pop();
    if (this.#deviceWrites.length > 0) this.#showDeviceWrite();
    return this.#deviceWrites.length > 0 || this.#derivedChanged || this.#options.ram.watchHit !== undefined ? 1 : 0;
  }

  get deviceWritePending(): boolean {
    return this.#deviceWrites.length > 0;
  }

  /** The device write of the exit is done; false when the next one is now the exit. */
  completeDeviceWrite(): boolean {
    if (this.#deviceWrites.length === 1) this.#deviceWrites.pop();
    else this.#deviceWrites.shift();
    if (this.#deviceWrites.length > 0) {
      this.#showDeviceWrite();
      return false;
    }
    this.#clearSavedState();
    return true;
  }

  /** Adds the data of the device read of the exit; the instruction starts again. */
  completeDeviceRead(low: number, high: number): void {
    const count = this.#view.getUint32(engineState.fragmentCount.offset, true);
    if (count >= FRAGMENT_COUNT_MAX)
      throw new Error(`an instruction with more than ${FRAGMENT_COUNT_MAX} device reads`);
    this.#view.setUint32(engineState.fragments.offset + 8 * count, low, true);
    this.#view.setUint32(engineState.fragments.offset + 8 * count + 4, high, true);
    this.#view.setUint32(engineState.fragmentCount.offset, count + 1, true);
    this.#clearMmio();
  }

  /** The instruction of the exit is not carried out. */
  abandonAccess(): void {
    this.#deviceWrites = [];
    this.forgetFragments();
    this.#clearSavedState();
    this.#clearMmio();
  }

  /** The instruction that had device reads has retired, or has raised an exception. */
  forgetFragments(): void {
    this.#view.setUint32(engineState.fragmentCount.offset, 0, true);
    this.#bytes.fill(0, engineState.fragments.offset, engineState.fragments.offset + 8 * FRAGMENT_COUNT_MAX);
  }

  /** The pending writes of a saved exit: [physical, bytes, bounce] each. */
  savePending(): number[] {
    return this.#deviceWrites.flatMap((write) => [write.physical, write.bytes, write.bounce]);
  }

  restorePending(numbers: readonly number[]): void {
    this.#bounceUsed = BOUNCE_BYTES;
    this.#pending = [];
    this.#deviceWrites = [];
    for (let index = 0; index + 2 < numbers.length; index += 3) {
      this.#deviceWrites.push({
        physical: numbers[index] ?? 0,
        bytes: numbers[index + 1] ?? 0,
        bounce: numbers[index + 2] ?? 0,
        isRam: false,
      });
    }
  }

  /** Translations or code changed under the instruction: it has to leave its block. */
  noteDerivedChanged(): void {
    this.#derivedChanged = true;
  }

  takeDerivedChanged(): boolean {
    const changed = this.#derivedChanged;
    this.#derivedChanged = false;
    return changed;
  }

  /** After `derivedChanged` was taken with nothing else pending. */
  clearAfterLeave(): void {
    if (this.#deviceWrites.length === 0) this.#clearSavedState();
  }

  /** At the first special access of an instruction nothing of an earlier one may be left, however that ended. */
  #beginInstruction(info: number): void {
    if ((info & AccessInfo.several) !== 0) {
      const begun = engineState.accessesBegun.offset;
      if (this.#view.getUint32(begun, true) !== 0) return;
      this.#view.setUint32(begun, 1, true);
    }
    this.#bounceNext = 0;
    this.#fragmentCursor = 0;
    while (this.#pending.length > 0) this.#pending.pop();
  }

  #translatePieces(address: bigint, info: number): Piece[] | undefined {
    const { cpu, translate } = this.#options;
    const kind = (info & AccessInfo.write) === 0 ? AccessKind.read : AccessKind.write;
    const privilege =
      (info & AccessInfo.privileged) !== 0
        ? 1
        : (info & AccessInfo.unprivileged) !== 0
          ? 0
          : this.#view.getUint32(cpu.privilege.offset, true);
    const total = info & AccessInfo.bytesMask;
    const pieces: Piece[] = [];
    for (let done = 0; done < total;) {
      const virtual = BigInt.asUintN(64, address + BigInt(done));
      const inPage = Number(virtual & 0xfffn);
      const bytes = Math.min(total - done, 4096 - inPage);
      const code = translate(BigInt.asIntN(64, virtual), kind, privilege);
      if (code !== 0) {
        this.#view.setBigUint64(engineFields.faultAddress.offset, virtual, true);
        this.#view.setInt32(engineFields.faultCode.offset, code, true);
        this.#view.setInt32(engineFields.faultKind.offset, kind, true);
        return undefined;
      }
      const physical = this.#translatedPhysical();
      pieces.push({ physical, bytes, isRam: this.#isRam(physical) });
      done += bytes;
    }
    return pieces;
  }

  #isRam(physical: number): boolean {
    const { base, bytes } = this.#options.ram;
    return physical >= base && physical < base + bytes;
  }

  /** Puts the page into a state that allows the access directly; undefined when it must bounce. */
  #prepareRam(piece: Piece, writes: boolean, info: number): number | undefined {
    const { ram, geometry, bouncesCode } = this.#options;
    const offset = piece.physical - geometry.ramBase;
    const page = Math.floor(offset / 4096);
    ram.ensureLoaded(page);
    if (!writes) return geometry.ramStart + offset;
    const state = ram.stateOf(page);
    if ((state & PageState.watched) !== 0) return undefined;
    if ((state & PageState.pageTable) !== 0) {
      // Another access of the instruction may yet walk what this one is going to change.
      const isOnly = (info & AccessInfo.several) === 0;
      if (!isOnly || ram.mayHaveBeenWalked(offset, piece.bytes)) return undefined;
    }
    if ((state & PageState.code) !== 0) {
      if (bouncesCode(page)) return undefined;
      ram.codeAboutToChange(page, offset % 4096, piece.bytes);
    }
    ram.markWritten(page);
    return geometry.ramStart + offset;
  }

  #bounce(pieces: readonly Piece[], reads: boolean, writes: boolean): number {
    const start = BOUNCE_START + this.#bounceNext;
    const total = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
    if (this.#bounceNext + total > BOUNCE_BYTES)
      throw new Error(`an instruction that bounces more than ${BOUNCE_BYTES} bytes`);
    this.#bounceNext += Math.ceil(total / 16) * 16;
    this.#bounceUsed = Math.max(this.#bounceUsed, this.#bounceNext);
    let at = start;
    for (const piece of pieces) {
      if (reads && !this.#readPiece(piece, at)) return SlowResult.device;
      if (writes) this.#pending.push({ physical: piece.physical, bytes: piece.bytes, bounce: at, isRam: piece.isRam });
      at += piece.bytes;
    }
    return start;
  }

  /** Fills the bounce buffer; false when a device read has yet to be done, which is then the exit. */
  #readPiece(piece: Piece, at: number): boolean {
    if (piece.isRam) {
      this.#bytes.set(this.#options.ram.read(piece.physical, piece.bytes), at);
      return true;
    }
    for (let done = 0; done < piece.bytes; done += FRAGMENT_BYTES_MAX) {
      const bytes = Math.min(FRAGMENT_BYTES_MAX, piece.bytes - done);
      const complete = this.#view.getUint32(engineState.fragmentCount.offset, true);
      if (this.#fragmentCursor >= complete) {
        this.#showMmio(piece.physical + done, bytes);
        return false;
      }
      const from = engineState.fragments.offset + 8 * this.#fragmentCursor;
      this.#bytes.copyWithin(at + done, from, from + bytes);
      this.#fragmentCursor += 1;
    }
    return true;
  }

  #writeRam(physical: number, bytes: Uint8Array): void {
    const { ram, geometry } = this.#options;
    const offset = physical - geometry.ramBase;
    if (ram.writeAtOffset(offset, bytes)) this.#derivedChanged = true;
  }

  #queueDeviceWrite(write: PendingWrite): void {
    if (write.bytes <= FRAGMENT_BYTES_MAX) {
      this.#deviceWrites.push(write);
      return;
    }
    for (let done = 0; done < write.bytes; done += FRAGMENT_BYTES_MAX) {
      this.#deviceWrites.push({
        physical: write.physical + done,
        bytes: Math.min(FRAGMENT_BYTES_MAX, write.bytes - done),
        bounce: write.bounce + done,
        isRam: false,
      });
    }
  }

  #showDeviceWrite(): void {
    const [write] = this.#deviceWrites;
    if (write === undefined) return;
    this.#showMmio(write.physical, write.bytes);
    // A call of `copyWithin` costs more than so few bytes.
    for (let index = 0; index < write.bytes; index++)
      this.#bytes[engineState.mmioData.offset + index] = this.#bytes[write.bounce + index] ?? 0;
  }

  #showMmio(physical: number, bytes: number): void {
    const view = this.#view;
    view.setUint32(engineState.mmioAddress.offset, physical >>> 0, true);
    view.setUint32(engineState.mmioAddress.offset + 4, Math.floor(physical / 2 ** 32), true);
    view.setUint32(engineState.mmioBytes.offset, bytes, true);
    view.setUint32(engineState.mmioData.offset, 0, true);
    view.setUint32(engineState.mmioData.offset + 4, 0, true);
  }

  #clearMmio(): void {
    this.#showMmio(0, 0);
  }

  #clearSavedState(): void {
    this.#clearMmio();
    // Like `fill`, whose call costs more than so few bytes.
    for (let at = BOUNCE_START; at < BOUNCE_START + this.#bounceUsed; at += 4) this.#view.setUint32(at, 0, true);
    this.#bounceUsed = 0;
    this.#view.setUint32(engineState.nextPc.offset, 0, true);
    this.#view.setUint32(engineState.nextPc.offset + 4, 0, true);
  }
}
