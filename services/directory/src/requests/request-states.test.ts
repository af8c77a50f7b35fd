/** The life of a request: every state, everything that can be done, by everybody. What is not allowed here is refused. */
import { RequestState } from '@congvu/contracts';
import { expect, test } from '@jest/globals';
import { checkAction, type RequestAction, transitions } from './request-states.ts';

const actions = Object.keys(transitions) as RequestAction[];
const decided = ['approved', 'rejected', 'cancelled', 'fulfilled'];
const people = ['submitter', 'their maker', 'another'] as const;

/** State, action, by whom; all else is refused. */
const allowed = new Set([
  'draft correct submitter',
  'draft submit submitter',
  'draft cancel submitter',
  'submitted cancel submitter',
  'submitted return another',
  'submitted approve another',
  'submitted reject another',
  'returned correct submitter',
  'returned submit submitter',
  'returned cancel submitter',
]);

const attempt = (state: RequestState, action: RequestAction, by: string, version?: number): string => {
  const request = { state, submitted_by: 'submitter', submitter_made_by: 'their maker', version: 3 };
  try {
    checkAction(request, action, by, version);
    return 'allowed';
  } catch (error) {
    const { kind, code } = error as { kind: string; code: string };
    return `${kind} ${code}`;
  }
};

/** Who may not is told so before in which state it is, which is nothing to them. */
function expected(state: RequestState, action: RequestAction, by: string): string {
  if (allowed.has(`${state} ${action} ${by}`)) return 'allowed';
  const isOwn = ['correct', 'submit', 'cancel'].includes(action);
  if (isOwn && by !== 'submitter') return 'forbidden not_submitter';
  if (!isOwn && by === 'their maker') return 'forbidden own_client';
  if (!isOwn && by === 'submitter') return 'forbidden own_request';
  return decided.includes(state) ? 'conflict request_decided' : 'conflict request_state';
}

test.each(
  RequestState.options.flatMap((state) =>
    actions.flatMap((action) => people.map((by) => [state, action, by] as const)),
  ),
)('of %s, %s by %s', (state, action, by) => {
  expect(attempt(state, action, by)).toBe(expected(state, action, by));
  expect(attempt(state, action, by, 3)).toBe(expected(state, action, by));
  expect(attempt(state, action, by, 2)).toBe('stale stale_version');
});

test('nothing leads out of a state that is decided, and every other has a way out', () => {
  const ways = (state: RequestState) =>
    actions.filter(
      (action) => (transitions[action].from as readonly string[]).includes(state) && 'to' in transitions[action],
    );
  for (const state of RequestState.options) expect(ways(state).length > 0).toBe(!decided.includes(state));
});
