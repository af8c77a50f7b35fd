/** The TLS reverse proxy (nginx) in a container; what it lets through is said in infra/proxy. */
import type { Engine } from './container.ts';

export const proxy: Engine = {
  configure(container) {
    const values = {
      ...container.values('LISTEN_ADDRESS', 'HTTP_PORT', 'HTTPS_PORT', 'HEALTH_PORT', 'RESOLVER'),
      ...container.values('DIRECTORY_HOST', 'MAILBOX_HOST', 'CERTIFICATE_HOST', 'PKI_HOST'),
      ...container.values('DIRECTORY_UPSTREAM', 'MAILBOX_UPSTREAM', 'CERTIFICATE_UPSTREAM'),
      PROXY_CONFIG_DIRECTORY: container.config,
    };
    container.write('server.crt', container.text('TLS_CERTIFICATE'));
    container.write('server.key', container.text('TLS_PRIVATE_KEY'));
    for (const file of ['headers.conf', 'problems.conf', 'forward.conf', 'api.conf']) {
      container.render(`proxy/${file}`, file, values);
    }
    const config = container.render('proxy/nginx.conf', 'nginx.conf', values);
    return { command: '/usr/sbin/nginx', args: ['-c', config, '-e', 'stderr'] };
  },
};
