/** For tests: samples broken at random, the same way at every run of one seed. What hostile input looks like when it began as real. */

/** Numbers below `below`, the same at every run (mulberry32). */
export function seededNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Octets that decoders trip over: lengths, tags, signs, ends of strings, line ends of PEM. */
const telling = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0d, 0x20, 0x2d, 0x30, 0x31, 0x3d, 0x7f];
const tellingHigh = [0x80, 0x81, 0x82, 0x84, 0x88, 0x9f, 0xa0, 0xa1, 0xa2, 0xa3, 0xbf, 0xfe, 0xff];
const octets = [...telling, ...tellingHigh];

/** One of the samples with one to four things done to it. */
export function mutate(samples: readonly Buffer[], next: (below: number) => number): Buffer {
  let mutated: Buffer = Buffer.from(samples[next(samples.length)]!);
  for (let times = 1 + next(4); times > 0; times--) mutated = once(mutated, samples, next);
  return mutated;
}

function once(sample: Buffer, samples: readonly Buffer[], next: (below: number) => number): Buffer {
  const at = next(sample.length + 1);
  const length = Math.min(sample.length - at, 1 + next(16));
  const [before, part, after] = [
    sample.subarray(0, at),
    sample.subarray(at, at + length),
    sample.subarray(at + length),
  ];
  const octet = Buffer.of(octets[next(octets.length)]!);
  switch (next(9)) {
    case 0: // one bit
      return part.length === 0
        ? octet
        : Buffer.concat([before, Buffer.of(part[0]! ^ (1 << next(8))), part.subarray(1), after]);
    case 1: // one octet for another
      return Buffer.concat([before, octet, part.subarray(1), after]);
    case 2: // one octet up or down, as lengths are wrong by one
      return part.length === 0
        ? before
        : Buffer.concat([before, Buffer.of((part[0]! + (next(2) ? 1 : 255)) & 0xff), part.subarray(1), after]);
    case 3: // something missing
      return Buffer.concat([before, after]);
    case 4: // something twice
      return Buffer.concat([before, part, part, after]);
    case 5: // something in between
      return Buffer.concat([before, octet, part, after]);
    case 6: // the end missing
      return Buffer.from(before);
    case 7: // the end of another
      return Buffer.concat([before, samples[next(samples.length)]!.subarray(at)]);
    default: // the same octet many times: deep nesting, long numbers
      return Buffer.concat([before, Buffer.alloc(1 + next(300), octet), after]);
  }
}
