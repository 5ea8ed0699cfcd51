/** State of a virtio transport and its queues. */
import { flag, list, structure, u16, u32, type StateOf } from "../state-coding.js";

const queueCodec = structure({
  /** Entries; what the driver chose. */
  size: u32,
  ready: flag,
  descriptorLow: u32,
  descriptorHigh: u32,
  driverLow: u32,
  driverHigh: u32,
  deviceLow: u32,
  deviceHigh: u32,
  /** Free-running indices, modulo 2^16: the next available entry to take, the next used entry to fill. */
  nextAvailable: u16,
  nextUsed: u16,
});

export const transportCodec = structure({
  status: u32,
  deviceFeaturesSelect: u32,
  driverFeaturesSelect: u32,
  driverFeaturesLow: u32,
  driverFeaturesHigh: u32,
  queueSelect: u32,
  interruptStatus: u32,
  queues: list(queueCodec),
});

export type QueueState = StateOf<typeof queueCodec>;
export type TransportState = StateOf<typeof transportCodec>;

export function resetQueueState(sizeMax: number): QueueState {
  return {
    size: sizeMax,
    ready: false,
    descriptorLow: 0,
    descriptorHigh: 0,
    driverLow: 0,
    driverHigh: 0,
    deviceLow: 0,
    deviceHigh: 0,
    nextAvailable: 0,
    nextUsed: 0,
  };
}

export function resetTransportState(queueSizesMax: readonly number[]): TransportState {
  return {
    status: 0,
    deviceFeaturesSelect: 0,
    driverFeaturesSelect: 0,
    driverFeaturesLow: 0,
    driverFeaturesHigh: 0,
    queueSelect: 0,
    interruptStatus: 0,
    queues: queueSizesMax.map(resetQueueState),
  };
}
