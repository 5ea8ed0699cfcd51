/** An interrupt on its way to local APICs: from another one, the IOAPIC, or a message of a device. Intel SDM volume 3, 11.6, 11.11. */
export interface InterruptMessage {
  readonly vector: number;
  /** A `Delivery`. */
  readonly delivery: number;
  readonly isLevel: boolean;
  readonly isLogical: boolean;
  readonly destination: number;
  /** The destination has 32 bits, and all of them set is everybody. */
  readonly isWide: boolean;
  /** 0 none, 1 self, 2 all, 3 all but self. */
  readonly shorthand: number;
}

/** Address and data of a message-signalled interrupt. */
export function messageOf(address: number, data: number): InterruptMessage {
  return {
    vector: data & 0xff,
    delivery: (data >> 8) & 7,
    isLevel: ((data >> 15) & 1) === 1,
    isLogical: ((address >> 2) & 1) === 1,
    destination: (address >> 12) & 0xff,
    isWide: false,
    shorthand: 0,
  };
}
