import { expect, test } from '@jest/globals';
import { httpStatus, invalid, ServiceError } from './index.ts';

test('an invalid error carries every fault and says how many there are', () => {
  const error = invalid('request_invalid', [
    { pointer: '/name', code: 'required', detail: 'name is empty' },
    { pointer: '/code', code: 'format', detail: 'code is out of form' },
  ]);
  expect(error).toBeInstanceOf(ServiceError);
  expect(error.faults).toHaveLength(2);
  expect(error.detail).toContain('2 faults');
  expect(httpStatus[error.kind]).toBe(422);
});
