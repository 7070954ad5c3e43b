internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ServiceKit

/// What a new account is asked for.
private struct Registration: Decodable {
    let email: String
    let password: String
}

private struct Registered: Encodable {
    let id: String
    let email: String
}

private struct Profile: Encodable {
    let id: String
    let email: String
    let roles: [String]
    let scope: String
    let session: String
    let createdAt: String
}

/// RFC 6749 §5.1.
private struct TokenAnswer: Encodable {
    let accessToken: String
    let tokenType = "Bearer"
    let expiresIn: Int64
    let refreshToken: String
    let scope: String

    enum CodingKeys: String, CodingKey {
        case accessToken = "access_token"
        case tokenType = "token_type"
        case expiresIn = "expires_in"
        case refreshToken = "refresh_token"
        case scope
    }
}

/// RFC 6749 §5.2.
private struct TokenRefusal: Encodable {
    let error: String
    let description: String

    enum CodingKeys: String, CodingKey {
        case error
        case description = "error_description"
    }
}

extension AuthService {
    func addRoutes(_ router: Router<Call>, prefix: String) {
        router.post("\(prefix)/register") { request, _ in try await register(request) }
        router.post("\(prefix)/token") { request, call in try await token(request, call) }
        router.get("\(prefix)/me") { request, call in try await profile(request, call) }
        router.post("\(prefix)/logout") { request, call in try await logout(request, call) }
    }

    func addKeySet(_ router: Router<Call>) {
        router.get("/.well-known/jwks.json") { _, _ in
            Response(
                status: .ok,
                headers: [.contentType: "application/jwk-set+json", .cacheControl: "public, max-age=300"],
                body: .init(byteBuffer: ByteBuffer(bytes: keySet)))
        }
    }

    private func register(_ request: Request) async throws -> Response {
        let asked = try await request.json(Registration.self, limitBytes: 16_384)
        guard let email = Self.normalEmail(asked.email) else {
            throw Problem(.badRequest, "invalid_email", "The e-mail address is not valid.")
        }
        let lengths = PasswordHasher.lengthsBytes
        guard lengths.contains(asked.password.utf8.count) else {
            throw Problem(
                .badRequest, "invalid_password",
                "The password must have \(lengths.lowerBound) to \(lengths.upperBound) bytes.")
        }
        let taken = Problem(.conflict, "email_taken", "There is an account with this e-mail address.")
        // Looked up first, so that a repeated registration costs no hash.
        guard try await store.account(email: email) == nil else { throw taken }
        let hash = try await hasher.hash(asked.password)
        guard let account = try await store.addAccount(email: email, passwordHash: hash, now: Timestamp.now)
        else { throw taken }
        return Reply.json(Registered(id: account.id, email: account.email), status: .created)
    }

    private func token(_ request: Request, _ call: Call) async throws -> Response {
        do {
            try request.requireMediaType("application/x-www-form-urlencoded")
        } catch {
            return refusal("invalid_request", "The body must be application/x-www-form-urlencoded.")
        }
        let body = try await request.bodyData(limitBytes: 16_384)
        guard let form = Form(String(decoding: body, as: UTF8.self)), !form.hasDuplicates else {
            return refusal("invalid_request", "The form is broken, or names a parameter twice.")
        }
        let scope = form.first("scope").map { $0.split(separator: " ").map(String.init) }
        if let scope, scope.isEmpty || !scope.allSatisfy(Self.scopes.contains) {
            return refusal("invalid_scope", "The scopes are: \(Self.scopes.joined(separator: " ")).")
        }
        switch form.first("grant_type") {
        case "password": return try await passwordGrant(form, scope: scope ?? Self.scopes, request, call)
        case "refresh_token": return try await refreshGrant(form, scope: scope, call)
        case nil: return refusal("invalid_request", "grant_type is missing.")
        default: return refusal("unsupported_grant_type", "The grants are: password refresh_token.")
        }
    }

    private func passwordGrant(
        _ form: Form, scope: [String], _ request: Request, _ call: Call
    ) async throws -> Response {
        guard let username = form.first("username"), let password = form.first("password"),
            password.utf8.count <= PasswordHasher.lengthsBytes.upperBound, username.utf8.count <= 254
        else { return refusal("invalid_request", "username and password are needed.") }
        let name = username.lowercased()
        let address = call.clientAddress(request)
        if let seconds = throttle.begin(account: name, address: address, now: Self.monotonicSeconds) {
            throw Problem.retryLater(
                .tooManyRequests, "too_many_failures", "Too many failed sign-ins.", afterSeconds: seconds)
        }
        let account: Account?
        let isRight: Bool
        do {
            account = try await store.account(email: name)
            isRight = try await hasher.verify(password, against: account?.passwordHash ?? decoyHash)
        } catch {
            throttle.forget(account: name, address: address)
            throw error
        }
        guard isRight, let account, !account.isDisabled else {
            return refusal("invalid_grant", "The user name or the password is wrong.")
        }
        throttle.succeed(account: name, address: address)
        let now = Timestamp.now
        let (session, refreshToken) = try await store.beginSession(
            account, scope: scope.joined(separator: " "), now: now)
        call.notes.subject = account.id
        return try answer(session, refreshToken: refreshToken, now: now)
    }

    private func refreshGrant(_ form: Form, scope: [String]?, _ call: Call) async throws -> Response {
        guard let refreshToken = form.first("refresh_token"), refreshToken.utf8.count <= 256 else {
            return refusal("invalid_request", "refresh_token is needed.")
        }
        let now = Timestamp.now
        switch try await store.redeem(refreshToken, scope: scope, now: now) {
        case .renewed(let session, let successor):
            call.notes.subject = session.account.id
            return try answer(session, refreshToken: successor, now: now)
        case .refused:
            return refusal("invalid_grant", "The refresh token is not valid.")
        case .reused(let session):
            call.logger.warning("refresh token used twice", metadata: ["session": .string(session)])
            return refusal("invalid_grant", "The refresh token is not valid.")
        case .scopeTooWide:
            return refusal("invalid_scope", "The scope is wider than the session's.")
        }
    }

    private func profile(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "profile")
        guard let session = try await store.session(id: caller.session) else {
            throw Problem(
                .unauthorized, "session_ended", "The session has ended.",
                fields: [.wwwAuthenticate: "Bearer error=\"invalid_token\""])
        }
        return Reply.json(
            Profile(
                id: session.account.id, email: session.account.email, roles: session.account.roles,
                scope: caller.scopes.joined(separator: " "), session: session.id,
                createdAt: Timestamp.text(session.account.createdAt)))
    }

    private func logout(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: nil)
        try await store.endSession(id: caller.session)
        return Reply.noContent
    }

    private func answer(_ session: Session, refreshToken: String, now: Int64) throws -> Response {
        let answer = TokenAnswer(
            accessToken: try accessToken(session, now: now), expiresIn: Self.accessLifetimeSeconds,
            refreshToken: refreshToken, scope: session.scope)
        return Reply.json(answer, fields: Self.unstored)
    }

    private func refusal(_ error: String, _ description: String) -> Response {
        Reply.json(
            TokenRefusal(error: error, description: description), status: .badRequest,
            fields: Self.unstored)
    }

    /// RFC 6749 §5.1: tokens must not lie in a cache.
    private static var unstored: HTTPFields {
        var fields: HTTPFields = [.cacheControl: "no-store"]
        if let pragma = HTTPField.Name("Pragma") { fields[pragma] = "no-cache" }
        return fields
    }

    private static let epoch = ContinuousClock.now

    private static var monotonicSeconds: Double {
        Double(epoch.duration(to: .now).microseconds) / 1_000_000
    }

    /// The address in lower case, or `nil` when it cannot be one: the rest only a message to it could tell.
    static func normalEmail(_ text: String) -> String? {
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, parts[1].contains("."), !parts[1].hasPrefix("."),
            !parts[1].hasSuffix("."), text.utf8.count <= 254,
            text.unicodeScalars.allSatisfy({
                $0.value > 0x20 && $0.value != 0x7F && !$0.properties.isWhitespace
            })
        else { return nil }
        return text.lowercased()
    }
}
