/**
 * What is done for many at once costs each of them less: so whoever begins waits a moment for those that are just about to come, which
 * are there as soon as the event loop has read what the sockets hold.
 */

/** Rounds of the event loop that bring nobody; some microseconds each where there is nothing else to do. */
const quietRounds = 3;

/** Resolves when nobody new has come for some rounds of the event loop, and after `maximumMs` however many come. */
export async function untilQuiet(count: () => number, maximumMs = 1): Promise<void> {
  const end = performance.now() + maximumMs;
  for (let quiet = 0; quiet < quietRounds && performance.now() < end; ) {
    const before = count();
    await new Promise((resolve) => setImmediate(resolve));
    quiet = count() > before ? 0 : quiet + 1;
  }
}
