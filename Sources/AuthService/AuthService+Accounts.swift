internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// What a new account is asked for.
private struct Registration: Decodable {
    let email: String
    let password: String
}

/// What the owner of an account may change. A member that is absent or null stays as it is.
private struct ProfileChange: Decodable {
    let displayName: String?
    let password: String?
    /// Needed for the password: a token that lay about must not be enough to take the account.
    let currentPassword: String?
}

extension AuthService {
    static let bodyLimitBytes = 16_384
    private static let displayNameLimitBytes = 200

    func addAccountRoutes(_ router: Router<Call>, prefix: String) {
        router.post("\(prefix)/register") { request, call in try await register(request, call) }
        router.get("\(prefix)/me") { request, call in
            let (caller, session) = try await session(request, call, scope: "profile")
            return Self.profile(session.account, caller)
        }
        router.patch("\(prefix)/me") { request, call in try await changeProfile(request, call) }
        router.post("\(prefix)/logout") { request, call in
            let caller = try await verifier.caller(request, call, scope: nil)
            _ = try await store.endSession(id: caller.session, account: caller.subject)
            return Reply.noContent
        }
        router.get("\(prefix)/sessions") { request, call in try await sessions(request, call) }
        router.delete("\(prefix)/sessions/{family}") { request, call in
            let (caller, _) = try await session(request, call, scope: "profile")
            guard let family = call.parameters.get("family"), Identifier.isValid(family),
                try await store.endSession(id: family, account: caller.subject)
            else { throw Problem.notFound("session") }
            return Reply.noContent
        }
    }

    private func register(_ request: Request, _ call: Call) async throws -> Response {
        let asked = try await request.json(Registration.self, limitBytes: Self.bodyLimitBytes)
        let email = try Self.normal(email: asked.email)
        try Self.check(password: asked.password)
        try admit(registrations, request, call)
        // Looked up first, so that a repeated registration costs no hash.
        guard try await store.account(email: email) == nil else { throw Self.emailTaken }
        let hash = try await hasher.hash(asked.password)
        guard
            let account = try await store.addAccount(
                email: email, passwordHash: hash, now: now, trace: call.trace)
        else { throw Self.emailTaken }
        return Reply.json(Registered(id: account.id, email: account.email), status: .created)
    }

    private func changeProfile(_ request: Request, _ call: Call) async throws -> Response {
        let (caller, session) = try await session(request, call, scope: "profile")
        let change = try await request.json(ProfileChange.self, limitBytes: Self.bodyLimitBytes)
        // Everything is judged before anything is changed.
        let name = try change.displayName.map(Self.check(displayName:))
        if let password = change.password {
            try Self.check(password: password)
            try await confirm(change.currentPassword, session.account, request, call)
            let hash = try await hasher.hash(password)
            guard try await store.setPassword(hash, of: session.account, keeping: session.id) else {
                throw Problem(.conflict, "password_changed", "The password was changed meanwhile.")
            }
        }
        if let name { try await store.setDisplayName(name, account: session.account.id) }
        guard let account = try await store.account(id: caller.subject) else {
            throw Problem.notFound("account")
        }
        return Self.profile(account, caller)
    }

    private func confirm(_ password: String?, _ account: Account, _ request: Request, _ call: Call)
        async throws
    {
        let limit = PasswordHasher.lengthsBytes.upperBound
        guard let password, password.utf8.count <= limit else {
            throw Problem(.badRequest, "current_password_missing", "This needs currentPassword.")
        }
        let found = try await self.account(
            name: account.email, password: password, from: call.clientAddress(request))
        guard found?.id == account.id else {
            throw Problem(.forbidden, "current_password_wrong", "The current password is another.")
        }
    }

    private func sessions(_ request: Request, _ call: Call) async throws -> Response {
        let (caller, current) = try await session(request, call, scope: "profile")
        let entries = try await store.sessions(account: caller.subject, now: now)
        return Reply.json(
            SessionList(
                sessions: entries.map { entry in
                    SessionLine(
                        id: entry.id, current: entry.id == current.id, scope: entry.scope,
                        address: entry.address, agent: entry.agent,
                        createdAt: Timestamp.text(entry.createdAt),
                        lastUsedAt: Timestamp.text(entry.lastUsedAt))
                }))
    }

    private static func profile(_ account: Account, _ caller: Caller) -> Response {
        Reply.json(
            Profile(
                id: account.id, email: account.email, isEmailVerified: account.isEmailVerified,
                displayName: account.displayName, roles: account.roles,
                scope: caller.scopes.joined(separator: " "), session: caller.session,
                createdAt: Timestamp.text(account.createdAt)))
    }

    static var emailTaken: Problem {
        Problem(.conflict, "email_taken", "There is an account with this e-mail address.")
    }

    static func check(password: String) throws {
        let lengths = PasswordHasher.lengthsBytes
        guard lengths.contains(password.utf8.count) else {
            throw Problem(
                .badRequest, "invalid_password",
                "The password must have \(lengths.lowerBound) to \(lengths.upperBound) bytes.")
        }
    }

    /// It goes into letters, so nothing in it may act there.
    private static func check(displayName: String) throws -> String {
        guard displayName.utf8.count <= displayNameLimitBytes,
            displayName.unicodeScalars.allSatisfy(EmailAddress.isGraphicOrSpace)
        else {
            throw Problem(
                .badRequest, "invalid_display_name",
                "The name may have \(displayNameLimitBytes) bytes and no control characters.")
        }
        return displayName
    }

    static func normal(email: String) throws -> String {
        guard let email = EmailAddress.normal(email) else {
            throw Problem(.badRequest, "invalid_email", "The e-mail address is not valid.")
        }
        return email
    }
}
