import Cryptography
import JSON
import JWT
import Memory

/// Anything at all as a token, a JWKS or the parts of a token. What is accepted must have been signed, and nobody here
/// can sign: so nothing is accepted but the three good tokens that the verifier's keys have signed.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 0 else { return 0 }
    let buffer = unsafe UnsafeRawBufferPointer(start: data, count: size)
    let input = unsafe RawSpan(_unsafeBytes: buffer)
    let rest = input.extracting(1..<size)
    switch input[0] & 3 {
    case 0: ask(rest)
    case 1: parts(rest)
    case 2: keySet(rest)
    default: changed(rest)
    }
    return 0
}

private let jwks = #"""
    {"keys":[{"kty":"RSA","kid":"a","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrc\#
    S2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdb\#
    BYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\#
    GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"},
    {"kty":"EC","kid":"ec","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty":"OKP","kid":"ed","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
    """#
private let good = Array(
    """
    eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iLCJzd\
    WIiOiJ1c2VyLTEiLCJhdWQiOiJwbGF0Zm9ybS1hcGkiLCJpYXQiOjE3MDAwMDAwMDAsIm5iZiI6MTcwMDAwMDAwMCwiZXhwIjoxN\
    zAwMDAwOTAwLCJyb2xlcyI6WyJlZGl0b3IiLCJhZG1pbiJdfQ.RfBgb01F6jv2onw0QDVo4o4btS5BRBKyr98eSFBvkdpR5-D2Nd\
    4cDaqC6wYVF96mwQ-rMOg4t34tSzLozta6z-_5KuHr0SCDjCV3gHMNIOkQfbMmZIrBZ5YJ1jm9cvPMWI8BuF63qNCB47u2iKSjH8\
    a099cLP7Jxb2ifK1cVW_lvWc3H1d9dHkngIU-94ymGFN0FMmX12gOS3R4-6iq-BU6oZCvg6Gslgwln0ED_drn_VFyqkxOtKaa-2M\
    Kop9rC0KBoiKfQiB6Q5HnJsBwvhbQbV8JRS2HaaOZXrEizCZb--zXlfeEfXW1RXgB9ViEeXPJoE6OLS42qlzJIF_7bLw
    """.utf8)
private let goodES256 = Array(
    """
    eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImVjIn0.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iLCJz\
    dWIiOiJ1c2VyLWVzMjU2IiwiYXVkIjoicGxhdGZvcm0tYXBpIiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDA5MDAsInJv\
    bGVzIjpbImVkaXRvciIsImFkbWluIl19.UY8T3-pi_2342mL3J6H9lLYw_BN8-Y1SLPu3UOO1ocpPxgig6VtmYhHpSrzQnF6-EZc\
    3NXjvVt60T85WqvLs3g
    """.utf8)
private let goodEdDSA = Array(
    """
    eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20iLCJz\
    dWIiOiJ1c2VyLWVkZHNhIiwiYXVkIjoicGxhdGZvcm0tYXBpIiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDA5MDAsInJv\
    bGVzIjpbImVkaXRvciIsImFkbWluIl19.q2LPH1HrUjefRpJjJJyH6FyXGmsjDmv2X7G2iDxzv-cvKdMsGnxt-yqneijxNtIj4vC\
    tzNi-0hNRxpMsuuoABw
    """.utf8)
private let every: SignatureAlgorithms = [.rs256, .rs384, .rs512, .ps256, .es256, .edDSA]
private let now: Int64 = 1_700_000_100

/// One verifier for the whole run, so that its caches meet many tokens. libFuzzer calls from one thread.
nonisolated(unsafe) private var verifier = make()

private func make() -> TokenVerifier {
    let keys = Array(jwks.utf8)
    do {
        let settings = try IssuerSettings(
            issuer: "https://auth.example.com", audiences: ["platform-api"], algorithms: every,
            requiredClaims: ["sub"],
            forwards: [
                .init(fieldName: "X-User-ID", claimName: "sub"),
                .init(fieldName: "X-Roles", claimName: "roles"),
            ], cacheEntries: 32)
        return TokenVerifier(
            settings: settings, keySet: try KeySet(file: keys.rawSpan, algorithms: every),
            hash: SipHash(key0: 1, key1: 2))
    } catch { preconditionFailure("\(error)") }
}

private let user: StaticString = "user-"

private func ask(_ token: RawSpan) {
    let isGood =
        token.equals(good.rawSpan) || token.equals(goodES256.rawSpan) || token.equals(goodEdDSA.rawSpan)
    let checks = unsafe verifier.signatureChecks
    let verdict = unsafe verifier.verify(token, nowSeconds: now)
    // What is explained is what is judged, whatever it is.
    let explanation = unsafe TokenExplanation(
        of: token, by: &verifier, nowSeconds: now, GrantRequirement())
    precondition(!explanation.findings.isEmpty && (explanation.refusal == nil) == isGood)
    if case .refused(let refusal) = verdict { precondition(explanation.refusal == refusal) }
    switch verdict {
    case .accepted(let entry, _):
        precondition(isGood)
        unsafe precondition(
            verifier.contains(entry) && verifier.subject(of: entry).starts(with: user.utf8Span))
        unsafe precondition(verifier.forwardedValue(1, of: entry)?.equals("editor,admin") == true)
    case .refused(let refusal):
        precondition(!isGood)
        // The same question gets the same answer, and costs no second signature.
        let before = unsafe verifier.signatureChecks
        let again = unsafe verifier.verify(token, nowSeconds: now)
        precondition(again == .refused(refusal))
        unsafe precondition(verifier.signatureChecks == before && before - checks <= 1)
    }
}

/// The input is the header and the payload, parted by a zero byte; encoding them reaches what lies behind base64url.
private func parts(_ input: RawSpan) {
    let zero = input.firstIndex(of: 0, from: 0)
    let header = encoded(input.extracting(0..<zero))
    let payload = zero < input.byteCount ? encoded(input.extracting((zero + 1)..<input.byteCount)) : []
    let dot = UInt8(ascii: ".")
    // As long as a signature of a key of each kind, so that the claims decide; its number is wrong.
    for count in [342, 86] {
        let token = header + [dot] + payload + [dot] + [UInt8](repeating: UInt8(ascii: "A"), count: count)
        ask(token.rawSpan)
    }
}

private func encoded(_ bytes: RawSpan) -> [UInt8] {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    var text: [UInt8] = []
    var bits = 0
    var held = 0
    for offset in 0..<bytes.byteCount {
        held = held << 8 | Int(bytes[offset])
        bits += 8
        while bits >= 6 {
            bits -= 6
            text.append(alphabet[held >> bits & 63])
        }
        held &= 255
    }
    if bits > 0 { text.append(alphabet[held << (6 - bits) & 63]) }
    return text
}

private func keySet(_ file: RawSpan) {
    do throws(KeySetError) {
        let keys = try KeySet(file: file, algorithms: every)
        precondition(keys.count > 0 && keys.count <= KeySet.mostKeys)
    } catch { precondition(!error.description.isEmpty) }
}

/// A good token with some of its bytes replaced: one byte of input says which, three each where and what.
private func changed(_ input: RawSpan) {
    guard input.byteCount > 0 else { return }
    var token = input[0] % 3 == 0 ? good : input[0] % 3 == 1 ? goodES256 : goodEdDSA
    var offset = 1
    while offset + 3 <= input.byteCount {
        let place = Int(input[offset]) << 8 | Int(input[offset + 1])
        token[place % token.count] = input[offset + 2]
        offset += 3
    }
    ask(token.rawSpan)
}
