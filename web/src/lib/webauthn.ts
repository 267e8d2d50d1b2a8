// Passkeys: what the hive gives and takes as JSON, with bytes as base64url, is for browsers made of buffers.

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

export function toBase64(bytes: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(plain).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

interface Known { id: string; type: 'public-key'; transports?: AuthenticatorTransport[] }
export type CreateJson = Omit<PublicKeyCredentialCreationOptions, 'challenge' | 'user' | 'excludeCredentials'> & {
  challenge: string; user: { id: string; name: string; displayName: string }; excludeCredentials?: Known[];
};
export type GetJson = Omit<PublicKeyCredentialRequestOptions, 'challenge' | 'allowCredentials'> & {
  challenge: string; allowCredentials?: Known[];
};

const known = (list: Known[] = []) => list.map((one) => ({ ...one, id: fromBase64(one.id) }));

export function createOptions(json: CreateJson): PublicKeyCredentialCreationOptions {
  return {
    ...json,
    challenge: fromBase64(json.challenge),
    user: { ...json.user, id: fromBase64(json.user.id) },
    excludeCredentials: known(json.excludeCredentials),
  };
}

export function getOptions(json: GetJson): PublicKeyCredentialRequestOptions {
  return { ...json, challenge: fromBase64(json.challenge), allowCredentials: known(json.allowCredentials) };
}

/** Whether this browser has passkeys for pages like this one: they need HTTPS, or localhost. */
export function hasPasskeys(): boolean {
  return typeof PublicKeyCredential === 'function' && !!navigator.credentials;
}

export async function makePasskey(json: CreateJson): Promise<object> {
  const made = (await navigator.credentials.create({ publicKey: createOptions(json) })) as PublicKeyCredential;
  const answer = made.response as AuthenticatorAttestationResponse;
  return {
    ...head(made),
    response: {
      clientDataJSON: toBase64(answer.clientDataJSON),
      attestationObject: toBase64(answer.attestationObject),
      transports: answer.getTransports?.() ?? [],
    },
  };
}

export async function usePasskey(json: GetJson): Promise<object> {
  const found = (await navigator.credentials.get({ publicKey: getOptions(json) })) as PublicKeyCredential;
  const answer = found.response as AuthenticatorAssertionResponse;
  return {
    ...head(found),
    response: {
      clientDataJSON: toBase64(answer.clientDataJSON),
      authenticatorData: toBase64(answer.authenticatorData),
      signature: toBase64(answer.signature),
      userHandle: answer.userHandle ? toBase64(answer.userHandle) : null,
    },
  };
}

function head(made: PublicKeyCredential): object {
  return {
    id: made.id,
    rawId: toBase64(made.rawId),
    type: made.type,
    authenticatorAttachment: made.authenticatorAttachment,
    clientExtensionResults: made.getClientExtensionResults(),
  };
}
