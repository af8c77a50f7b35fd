/**
 * How notices leave: signed (DKIM, RFC 6376), by submission (RFC 6409) with STARTTLS and log-in, or straight into the mail store by LMTP
 * (RFC 2033).
 */
import { ServiceError } from '@congvu/errors';
import { createTransport } from 'nodemailer';
import type { SigningKey } from './signing-key.ts';

export interface OutgoingNotice {
  to: string;
  messageId: string;
  date: Date;
  subject: string;
  text: string;
  html: string;
}

export interface MailTransport {
  /**
   * Resolves when the server has taken the message. Throws `unavailable` when it did not answer (`mail_unavailable`) or asked to wait with
   * this message (`mail_deferred`), and `conflict` (`mail_refused`) when it said no: then nothing is down that one could wait for.
   */
  send(notice: OutgoingNotice): Promise<void>;
  ping(): Promise<void>;
  close(): void;
}

export function openMailTransport(options: {
  transport: 'submission' | 'lmtp';
  host: string;
  port: number;
  from: string;
  password: string;
  tlsCa: string | undefined;
  signingKey: SigningKey;
}): MailTransport {
  const { domain, selector, privateKey } = options.signingKey;
  const transporter = createTransport({
    pool: true,
    maxConnections: 2,
    host: options.host,
    port: options.port,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 60_000,
    disableFileAccess: true,
    disableUrlAccess: true,
    dkim: { domainName: domain, keySelector: selector, privateKey, headerFieldNames: signedFields },
    ...(options.transport === 'lmtp'
      ? { lmtp: true, ignoreTLS: true }
      : {
          requireTLS: true,
          auth: { user: options.from, pass: options.password },
          tls: options.tlsCa ? { ca: options.tlsCa } : {},
        }),
  });
  return {
    send: async ({ to, messageId, date, subject, text, html }) => {
      try {
        await transporter.sendMail({
          from: { name: 'Hệ thống thư công vụ', address: options.from },
          to: { name: '', address: to },
          messageId,
          date,
          subject,
          text,
          html,
          headers: { 'Auto-Submitted': 'auto-generated', 'X-Congvu-Notice': messageId },
        });
      } catch (cause) {
        const reply = replyTo(cause);
        if (reply >= 500) {
          const detail = 'The mail server refuses a notice; an administrator has to look at its recipient.';
          throw new ServiceError({ kind: 'conflict', code: 'mail_refused', detail, cause });
        }
        throw new ServiceError({
          kind: 'unavailable',
          code: reply >= 400 ? 'mail_deferred' : 'mail_unavailable',
          detail: 'The mail server did not take a notice; it is tried again.',
          cause,
        });
      }
    },
    ping: async () => {
      await transporter.verify();
    },
    close: () => transporter.close(),
  };
}

/** All that a notice has of RFC 6376 section 5.4.1, and what makes it a notice. */
const signedFields =
  'From:To:Subject:Date:Message-ID:MIME-Version:Content-Type:Content-Transfer-Encoding:Auto-Submitted:X-Congvu-Notice';

/** The negative reply to the message or its recipient (RFC 5321 section 4.2.1), else 0; one to our log-in is an outage. */
function replyTo(error: unknown): number {
  const { code, responseCode } = error as { code?: string; responseCode?: number };
  return code === 'EENVELOPE' || code === 'EMESSAGE' ? (responseCode ?? 0) : 0;
}
