/* virtio 1.x over MMIO: one queue each of a block and an entropy device, completed by interrupt. */
#include "machine.h"

enum { MAGIC_VALUE = 0x000, VERSION = 0x004, DEVICE_ID = 0x008, DEVICE_FEATURES = 0x010, DEVICE_FEATURES_SEL = 0x014,
       DRIVER_FEATURES = 0x020, DRIVER_FEATURES_SEL = 0x024, QUEUE_SEL = 0x030, QUEUE_NUM_MAX = 0x034,
       QUEUE_NUM = 0x038, QUEUE_READY = 0x044, QUEUE_NOTIFY = 0x050, INTERRUPT_STATUS = 0x060, INTERRUPT_ACK = 0x064,
       STATUS = 0x070, QUEUE_DESC = 0x080, QUEUE_DRIVER = 0x090, QUEUE_DEVICE = 0x0a0, CONFIG = 0x100 };
enum { STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8 };
enum { ID_BLOCK = 2, ID_ENTROPY = 4 };
#define MAGIC 0x74726976
#define F_VERSION_1 (1ul << 32)
#define BLK_F_RO (1ul << 5)
#define BLK_F_FLUSH (1ul << 9)
enum { BLK_T_IN = 0, BLK_T_OUT = 1, BLK_T_FLUSH = 4, BLK_S_OK = 0 };
enum { DESC_F_NEXT = 1, DESC_F_WRITE = 2 };

#define QUEUE_ENTRIES 8

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};

struct queue {
  struct descriptor descriptors[QUEUE_ENTRIES];
  struct {
    uint16_t flags, index, ring[QUEUE_ENTRIES], used_event;
  } available;
  struct {
    uint16_t flags, index;
    struct {
      uint32_t id, length;
    } ring[QUEUE_ENTRIES];
    uint16_t available_event;
  } used __attribute__((aligned(4)));
} __attribute__((aligned(4096)));

struct device {
  uint64_t base;
  uint64_t features;
  struct queue queue;
  volatile uint32_t interrupts;
};

static struct device disk, entropy;
uint64_t disk_sectors;
bool disk_read_only;

static bool find_device(struct device *device, uint32_t id, unsigned *slot) {
  for (*slot = 0; *slot < VIRTIO_MMIO_SLOTS; (*slot)++) {
    const uint64_t base = VIRTIO_MMIO_BASE + *slot * (uint64_t)VIRTIO_MMIO_STRIDE;
    if (read32(base + MAGIC_VALUE) != MAGIC || read32(base + DEVICE_ID) != id) continue;
    if (read32(base + VERSION) != 2) {
      print("error: virtio device %u in slot %u is a legacy device\n", id, *slot);
      power_off();
    }
    device->base = base;
    return true;
  }
  return false;
}

static void write64(uint64_t address, uint64_t value) {
  write32(address, (uint32_t)value);
  write32(address + 4, (uint32_t)(value >> 32));
}

static void negotiate(struct device *device, uint64_t wanted) {
  const uint64_t base = device->base;
  write32(base + STATUS, 0);
  write32(base + STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
  write32(base + DEVICE_FEATURES_SEL, 0);
  uint64_t offered = read32(base + DEVICE_FEATURES);
  write32(base + DEVICE_FEATURES_SEL, 1);
  offered |= (uint64_t)read32(base + DEVICE_FEATURES) << 32;
  device->features = offered & (wanted | F_VERSION_1);
  write32(base + DRIVER_FEATURES_SEL, 0);
  write32(base + DRIVER_FEATURES, (uint32_t)device->features);
  write32(base + DRIVER_FEATURES_SEL, 1);
  write32(base + DRIVER_FEATURES, (uint32_t)(device->features >> 32));
  write32(base + STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
  if (!(device->features & F_VERSION_1) || !(read32(base + STATUS) & STATUS_FEATURES_OK)) {
    print("error: virtio device at %lx refuses features %lx of %lx\n", base, device->features, offered);
    power_off();
  }
}

static void start_queue(struct device *device, unsigned slot) {
  const uint64_t base = device->base;
  write32(base + QUEUE_SEL, 0);
  if (read32(base + QUEUE_READY) != 0 || read32(base + QUEUE_NUM_MAX) < QUEUE_ENTRIES) {
    print("error: virtio device at %lx has no queue of %u entries\n", base, QUEUE_ENTRIES);
    power_off();
  }
  write32(base + QUEUE_NUM, QUEUE_ENTRIES);
  write64(base + QUEUE_DESC, physical_address(device->queue.descriptors));
  write64(base + QUEUE_DRIVER, physical_address(&device->queue.available));
  write64(base + QUEUE_DEVICE, physical_address(&device->queue.used));
  write32(base + QUEUE_READY, 1);
  enable_interrupt(INTID_VIRTIO_MMIO + slot);
  write32(base + STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

static bool init_device(struct device *device, uint32_t id, uint64_t wanted) {
  unsigned slot;
  if (!find_device(device, id, &slot)) return false;
  negotiate(device, wanted);
  start_queue(device, slot);
  return true;
}

void handle_virtio(unsigned slot) {
  const uint64_t base = VIRTIO_MMIO_BASE + slot * (uint64_t)VIRTIO_MMIO_STRIDE;
  write32(base + INTERRUPT_ACK, read32(base + INTERRUPT_STATUS));
  if (base == disk.base) disk.interrupts++;
  if (base == entropy.base) entropy.interrupts++;
}

static bool is_used(uint64_t device_address) {
  struct device *device = (struct device *)device_address;
  const volatile uint16_t *used = &device->queue.used.index;
  return *used == device->queue.available.index;
}

/* Offers the chain that starts at descriptor 0 and sleeps until the device has used it. */
static void submit(struct device *device) {
  struct queue *queue = &device->queue;
  queue->available.ring[queue->available.index % QUEUE_ENTRIES] = 0;
  memory_barrier();
  *(volatile uint16_t *)&queue->available.index = (uint16_t)(queue->available.index + 1);
  device_barrier();
  write32(device->base + QUEUE_NOTIFY, 0);
  wait_until(is_used, (uint64_t)device);
  memory_barrier();
}

bool init_disk(void) {
  if (disk.base != 0) return true;
  if (!init_device(&disk, ID_BLOCK, BLK_F_RO | BLK_F_FLUSH)) return false;
  disk_sectors = read32(disk.base + CONFIG) | (uint64_t)read32(disk.base + CONFIG + 4) << 32;
  disk_read_only = disk.features & BLK_F_RO;
  print("disk: %lu sectors, features %lx, %s\n", disk_sectors, disk.features,
        disk_read_only ? "read-only" : "writable");
  return true;
}

static void request(uint32_t type, uint64_t sector, uint64_t physical, uint32_t bytes) {
  static struct {
    uint32_t type, reserved;
    uint64_t sector;
  } header __attribute__((aligned(16)));
  static volatile uint8_t status;
  header.type = type;
  header.sector = sector;
  status = 0xff;
  struct descriptor *descriptors = disk.queue.descriptors;
  const uint16_t data_flags = type == BLK_T_IN ? DESC_F_NEXT | DESC_F_WRITE : DESC_F_NEXT;
  const uint16_t status_index = bytes > 0 ? 2 : 1;
  descriptors[0] = (struct descriptor){physical_address(&header), sizeof header, DESC_F_NEXT, 1};
  if (bytes > 0) descriptors[1] = (struct descriptor){physical, bytes, data_flags, 2};
  descriptors[status_index] = (struct descriptor){physical_address((const void *)&status), 1, DESC_F_WRITE, 0};
  submit(&disk);
  if (status != BLK_S_OK) {
    print("error: disk request %u for sector %lu ended with status %u\n", type, sector, (uint32_t)status);
    power_off();
  }
}

void read_disk(uint64_t sector, uint64_t physical, uint32_t bytes) { request(BLK_T_IN, sector, physical, bytes); }

void write_disk(uint64_t sector, uint64_t physical, uint32_t bytes) {
  request(BLK_T_OUT, sector, physical, bytes);
  if (disk.features & BLK_F_FLUSH) request(BLK_T_FLUSH, 0, 0, 0);
}

bool read_entropy(uint8_t bytes[16]) {
  if (entropy.base == 0 && !init_device(&entropy, ID_ENTROPY, 0)) return false;
  entropy.queue.descriptors[0] = (struct descriptor){physical_address(bytes), 16, DESC_F_WRITE, 0};
  submit(&entropy);
  return true;
}
