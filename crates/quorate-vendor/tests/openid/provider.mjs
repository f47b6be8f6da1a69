// An OpenID Connect provider for tests: `oidc-provider`, with people who are read from a file each time.
//
// node provider.mjs SETTINGS, where SETTINGS is JSON:
//   port          to listen on at the loopback; 0 for any
//   people        a file: { "LOGIN": { claim: value, … }, … }; every password is right
//   redirect      where the client's people are sent back to
//   secret        the secret of each client; there is one for each algorithm, named after it
//   inIdToken     whether claims are in the ID token; else the userinfo endpoint has them
//   basic         whether clients send their secret as HTTP does; else in the form
//   tls           { key, certificate }: PEM, spoken with TLS 1.2 and nothing newer
// It prints its issuer when it answers.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Provider } from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);
const people = () => JSON.parse(readFileSync(settings.people, 'utf8'));

// Other keys at each start.
const jwk = (alg, type, options) => {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomBytes(8).toString('hex') };
};
const keys = [
  jwk('RS256', 'rsa', { modulusLength: 2048 }),
  jwk('PS256', 'rsa', { modulusLength: 2048 }),
  jwk('ES256', 'ec', { namedCurve: 'P-256' }),
  jwk('EdDSA', 'ed25519'),
];
const method = settings.basic ? 'client_secret_basic' : 'client_secret_post';

const server = settings.tls
  ? https.createServer({
      key: readFileSync(settings.tls.key),
      cert: readFileSync(settings.tls.certificate),
      maxVersion: 'TLSv1.2',
    })
  : http.createServer();

server.listen(settings.port, '127.0.0.1', () => {
  const issuer = `${settings.tls ? 'https' : 'http'}://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: keys.map(({ alg }) => ({
      client_id: alg,
      client_secret: settings.secret,
      redirect_uris: [settings.redirect],
      id_token_signed_response_alg: alg,
      token_endpoint_auth_method: method,
    })),
    clientAuthMethods: [method],
    enabledJWA: { idTokenSigningAlgValues: keys.map(({ alg }) => alg) },
    jwks: { keys },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    pkce: { required: () => true },
    claims: {
      openid: ['sub'],
      profile: ['preferred_username', 'groups'],
      email: ['email', 'email_verified'],
    },
    conformIdTokenClaims: !settings.inIdToken,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/who/${interaction.uid}` },
    findAccount: (_, login) => {
      const claims = people()[login];
      return claims && { accountId: login, claims: () => ({ sub: login, ...claims }) };
    },
    // Nobody is asked whether the client may know who he is.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile email');
      await grant.save();
      return grant;
    },
    ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 600, IdToken: 60, Interaction: 600, Session: 600 },
  });
  const others = provider.callback();
  server.on('request', async (request, response) => {
    if (!request.url.startsWith('/who/')) {
      others(request, response);
    } else if (request.method === 'GET') {
      response.setHeader('content-type', 'text/html');
      response.end('<title>Provider</title><form method="post"><input name="login"><button>Go on</button></form>');
    } else {
      let form = '';
      for await (const part of request) form += part;
      const accountId = new URLSearchParams(form).get('login');
      const result = people()[accountId]
        ? { login: { accountId } }
        : { error: 'access_denied', error_description: 'nobody of that name' };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    }
  });
  console.log(issuer);
});
