internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import ServiceKit

private struct ShownToken: Decodable {
    let token: String
}

private struct ForgottenPassword: Decodable {
    let email: String
}

private struct NewPassword: Decodable {
    let token: String
    let password: String
}

/// What is proved by a letter: that an address is its account's, and that whoever forgot a password may set another.
extension AuthService {
    func addLetterRoutes(_ router: Router<Call>, prefix: String) {
        router.post("\(prefix)/email/verification") { request, call in
            try await sendVerification(request, call)
        }
        router.post("\(prefix)/email/verify") { request, call in try await verifyEmail(request, call) }
        router.post("\(prefix)/password/forgot") { request, call in try await forgotten(request, call) }
        router.post("\(prefix)/password/reset") { request, call in try await reset(request, call) }
    }

    private func sendVerification(_ request: Request, _ call: Call) async throws -> Response {
        let (caller, _) = try await session(request, call, scope: "profile")
        switch try await store.sendVerification(account: caller.subject, now: now, trace: call.trace) {
        case .sent: return Response(status: .accepted)
        case .needless:
            throw Problem(.conflict, "email_verified", "The e-mail address is verified already.")
        case .tooMany(let seconds):
            throw Self.tooMany("too_many_letters", "Three letters an hour are enough.", seconds)
        case .noAccount: throw Problem.notFound("account")
        }
    }

    private func verifyEmail(_ request: Request, _ call: Call) async throws -> Response {
        let shown = try await request.json(ShownToken.self, limitBytes: Self.bodyLimitBytes)
        try admit(redemptions, request, call)
        guard let account = try await store.verifyEmail(shown.token, now: now) else {
            throw Self.tokenSpent
        }
        call.notes.subject = account.id
        return Reply.json(VerifiedEmail(email: account.email, isVerified: account.isEmailVerified))
    }

    /// 202 whether or not there is such an account, whose letters are counted without a word.
    private func forgotten(_ request: Request, _ call: Call) async throws -> Response {
        let asked = try await request.json(ForgottenPassword.self, limitBytes: Self.bodyLimitBytes)
        let email = try Self.normal(email: asked.email)
        try admit(letterRequests, request, call)
        try await store.askForReset(email: email, trace: call.trace)
        return Response(status: .accepted)
    }

    private func reset(_ request: Request, _ call: Call) async throws -> Response {
        let asked = try await request.json(NewPassword.self, limitBytes: Self.bodyLimitBytes)
        try Self.check(password: asked.password)
        try admit(redemptions, request, call)
        // Looked up first, so that a token of somebody's invention costs no hash.
        guard try await store.account(of: asked.token, for: .reset, now: now) != nil else {
            throw Self.tokenSpent
        }
        let hash = try await hasher.hash(asked.password)
        guard let account = try await store.reset(asked.token, passwordHash: hash, now: now) else {
            throw Self.tokenSpent
        }
        // Whoever forgot a password has tried some.
        signIns.forgive(account: account.email, address: call.clientAddress(request))
        call.notes.subject = account.id
        call.logger.notice("password reset", metadata: ["account": .string(account.id)])
        return Reply.noContent
    }

    private static var tokenSpent: Problem {
        Problem(
            .badRequest, "token_spent", "The token was used, has expired, or was never given for this.")
    }
}
