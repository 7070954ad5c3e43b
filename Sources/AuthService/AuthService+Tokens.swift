internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ServiceKit

/// What clients of OAuth 2.0 ask: tokens (RFC 6749), their end (RFC 7009) and what they are (RFC 7662).
extension AuthService {
    private static let formLimitBytes = 16_384
    private static let tokenLimitBytes = 8_192

    func addTokenRoutes(_ router: Router<Call>, prefix: String) {
        router.post("\(prefix)/token") { request, call in
            try await refusalsTold { try await token(request, call) }
        }
        router.post("\(prefix)/revoke") { request, call in
            try await refusalsTold { try await revoke(request, call) }
        }
        router.post("\(prefix)/introspect") { request, call in
            try await refusalsTold { try await introspect(request, call) }
        }
    }

    /// The key set and the metadata, which have fixed places (RFC 8414 §3).
    func addDiscovery(_ router: Router<Call>) {
        router.get("/.well-known/jwks.json") { _, _ in
            Response(
                status: .ok,
                headers: [
                    .contentType: "application/jwk-set+json",
                    .cacheControl: "public, max-age=\(AuthStore.keySetMaximumAgeSeconds)",
                ], body: .init(byteBuffer: ByteBuffer(bytes: try keys.keySet(now: now))))
        }
        router.get("/.well-known/oauth-authorization-server") { _, _ in
            let issuer = settings.issuer
            return Reply.json(
                Metadata(
                    issuer: issuer, tokenEndpoint: "\(issuer)/auth/token",
                    jwksURI: "\(issuer)/.well-known/jwks.json",
                    revocationEndpoint: "\(issuer)/auth/revoke",
                    introspectionEndpoint: "\(issuer)/auth/introspect",
                    scopesSupported: [Self.administratorScope] + Self.scopes),
                fields: [.cacheControl: "public, max-age=\(AuthStore.keySetMaximumAgeSeconds)"])
        }
    }

    private func token(_ request: Request, _ call: Call) async throws -> Response {
        let form = try await form(request)
        // There are no clients with credentials, so whoever shows some is not known (RFC 6749 §5.2).
        let scheme = request.headers[.authorization]?.split(separator: " ").first?.lowercased()
        guard scheme != "basic", form.first("client_secret") == nil else {
            throw TokenRefusal(.invalidClient, "There are no clients with credentials.")
        }
        let scope = form.first("scope").map { $0.split(separator: " ").map(String.init) }
        if let scope, scope.isEmpty || Set(scope).count != scope.count {
            throw TokenRefusal(.invalidScope, "scope must be one or more names with spaces between.")
        }
        switch form.first("grant_type") {
        case "password": return try await passwordGrant(form, scope: scope, request, call)
        case "refresh_token": return try await refreshGrant(form, scope: scope, request, call)
        case nil: throw TokenRefusal(.invalidRequest, "grant_type is missing.")
        default: throw TokenRefusal(.unsupportedGrantType, "The grants are: password refresh_token.")
        }
    }

    private func passwordGrant(
        _ form: Form, scope: [String]?, _ request: Request, _ call: Call
    ) async throws -> Response {
        guard let username = form.first("username"), let password = form.first("password"),
            password.utf8.count <= PasswordHasher.lengthsBytes.upperBound, username.utf8.count <= 254
        else { throw TokenRefusal(.invalidRequest, "username and password are needed.") }
        // What no account may have is refused before a hash is spent on it.
        let known = Self.scopes + [Self.administratorScope]
        if let scope, !scope.allSatisfy(known.contains) { throw Self.unknownScope(known) }
        let wrong = TokenRefusal(.invalidGrant, "The user name or the password is wrong.")
        let address = call.clientAddress(request)
        guard
            let account = try await account(
                name: EmailAddress.normal(username) ?? username.lowercased(), password: password,
                from: address)
        else { throw wrong }
        let allowed = account.isAdministrator ? known : Self.scopes
        if let scope, !scope.allSatisfy(allowed.contains) { throw Self.unknownScope(allowed) }
        let now = now
        let place = Whereabouts(address: address, agent: request.headers[.userAgent])
        guard
            let (session, refreshToken) = try await store.beginSession(
                account, scope: (scope ?? allowed).joined(separator: " "), at: place, now: now)
        else { throw wrong }
        call.notes.subject = account.id
        return try answer(session, refreshToken: refreshToken, now: now)
    }

    private func refreshGrant(
        _ form: Form, scope: [String]?, _ request: Request, _ call: Call
    ) async throws -> Response {
        guard let refreshToken = form.first("refresh_token"), refreshToken.utf8.count <= 256 else {
            throw TokenRefusal(.invalidRequest, "refresh_token is needed.")
        }
        let now = now
        let outcome = try await store.redeem(
            refreshToken, scope: scope, from: call.clientAddress(request), now: now, trace: call.trace)
        switch outcome {
        case .renewed(let session, let successor):
            call.notes.subject = session.account.id
            return try answer(session, refreshToken: successor, now: now)
        case .refused:
            throw TokenRefusal(.invalidGrant, "The refresh token is not valid.")
        case .reused(let session):
            call.logger.warning("refresh token used twice", metadata: ["session": .string(session)])
            throw TokenRefusal(.invalidGrant, "The refresh token is not valid.")
        case .scopeTooWide:
            throw TokenRefusal(.invalidScope, "The scope is wider than the session's.")
        }
    }

    /// RFC 7009 §2.2: 200 also for a token that is not known, since what was wanted is so. An access token ends its
    /// session too (§2.1); it is itself good until it expires, for those who verify it without asking here.
    private func revoke(_ request: Request, _ call: Call) async throws -> Response {
        let token = try await shownToken(request)
        if let claims = try await claims(token) {
            _ = try await store.endSession(id: claims.sid, account: claims.sub)
        } else {
            try await store.endSession(refreshToken: token)
        }
        return Response(status: .ok, headers: TokenRefusal.unstored)
    }

    private func introspect(_ request: Request, _ call: Call) async throws -> Response {
        try requireService(request)
        let token = try await shownToken(request)
        var told = Introspection(active: false)
        if let claims = try await claims(token), let session = try await store.session(id: claims.sid) {
            told = Introspection(
                active: true, scope: claims.scope, username: session.account.email,
                isEmailVerified: session.account.isEmailVerified, tokenType: "Bearer",
                exp: claims.exp, iat: claims.iat, nbf: claims.nbf, sub: claims.sub, aud: claims.aud,
                iss: claims.iss, jti: claims.jti, sid: claims.sid, roles: claims.roles)
        } else if let known = try await store.known(refreshToken: token, now: now) {
            let session = known.session
            told = Introspection(
                active: true, scope: session.scope, username: session.account.email,
                isEmailVerified: session.account.isEmailVerified,
                tokenType: "refresh_token", exp: known.expiresAt / 1_000, sub: session.account.id,
                iss: settings.issuer, sid: session.id, roles: session.account.roles)
        }
        return Reply.json(told, fields: TokenRefusal.unstored)
    }

    /// Throws 401 unless a service of the platform asks; also when no service has a credential.
    private func requireService(_ request: Request) throws {
        guard let token = settings.serviceToken else {
            throw Problem(
                .unauthorized, "service_token_invalid", "This is for services of the platform.",
                fields: [.wwwAuthenticate: "Bearer realm=\"internal\""])
        }
        try token.require(request)
    }

    /// The claims of an access token of ours that has not expired; `nil` for any other text.
    private func claims(_ token: String) async throws -> AccessClaims? {
        do {
            return try await verifier.claims(token, now: now / 1_000)
        } catch let problem as Problem where problem.status == .unauthorized {
            return nil
        }
    }

    /// The parameter `token` (RFC 7009 §2.1, RFC 7662 §2.1). The hint beside it is not needed.
    private func shownToken(_ request: Request) async throws -> String {
        guard let token = try await form(request).first("token"), !token.isEmpty,
            token.utf8.count <= Self.tokenLimitBytes
        else { throw TokenRefusal(.invalidRequest, "token is needed.") }
        return token
    }

    private func form(_ request: Request) async throws -> Form {
        do {
            try request.requireMediaType("application/x-www-form-urlencoded")
        } catch {
            throw TokenRefusal(.invalidRequest, "The body must be application/x-www-form-urlencoded.")
        }
        let body = try await request.bodyData(limitBytes: Self.formLimitBytes)
        guard let text = String(validating: body, as: UTF8.self), let form = Form(text), !form.hasDuplicates
        else { throw TokenRefusal(.invalidRequest, "The form is broken, or names a parameter twice.") }
        return form
    }

    /// Refusals of these requests have a form of their own; the service's other answers keep theirs.
    private func refusalsTold(_ body: () async throws -> Response) async throws -> Response {
        do { return try await body() } catch let refusal as TokenRefusal { return refusal.response }
    }

    private func answer(_ session: Session, refreshToken: String, now: Int64) throws -> Response {
        let answer = TokenAnswer(
            accessToken: try accessToken(session, now: now), expiresIn: Self.accessLifetimeSeconds,
            refreshToken: refreshToken, scope: session.scope)
        return Reply.json(answer, fields: TokenRefusal.unstored)
    }

    private static func unknownScope(_ allowed: [String]) -> TokenRefusal {
        TokenRefusal(.invalidScope, "The scopes are: \(allowed.joined(separator: " ")).")
    }
}
