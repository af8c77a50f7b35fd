/** So many sheets at once and no more: each is held whole, with its sealed copy and its texts. Nobody waits in a queue. */
import { ServiceError } from '@congvu/errors';

export function limitReading(atOnce: number): <T>(read: () => Promise<T>) => Promise<T> {
  let reading = 0;
  return async (read) => {
    if (reading >= atOnce) {
      throw new ServiceError({
        kind: 'unavailable',
        code: 'sheets_busy',
        detail: 'Other sheets are being read; send this one again in a moment.',
        retryAfterSeconds: 10,
      });
    }
    reading += 1;
    try {
      return await read();
    } finally {
      reading -= 1;
    }
  };
}
