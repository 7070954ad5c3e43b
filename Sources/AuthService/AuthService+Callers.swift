internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// Who is asking, and how often they may.
extension AuthService {
    /// The caller and its session as the store has it now: here a token ends with its session, and roles are those that
    /// the account has, not those that the token was given.
    func session(_ request: Request, _ call: Call, scope: String?) async throws -> (Caller, Session) {
        let caller = try await verifier.caller(request, call, scope: scope)
        guard let session = try await store.session(id: caller.session), session.account.id == caller.subject
        else {
            throw Problem(
                .unauthorized, "session_ended", "The session has ended.",
                fields: [.wwwAuthenticate: "Bearer error=\"invalid_token\""])
        }
        return (caller, session)
    }

    /// An administrator whose token was given for administration.
    func administrator(_ request: Request, _ call: Call) async throws -> Session {
        let (_, session) = try await session(request, call, scope: Self.administratorScope)
        guard session.account.isAdministrator else {
            throw Problem(.forbidden, "role_missing", "This is for administrators.")
        }
        return session
    }

    /// The account that has this address and this password, or `nil`; `name` is in its normal form.
    ///
    /// What there is no account for costs the same hash. Throws `Problem` 429 after too many failures, 503 when too many
    /// hashes wait.
    func account(name: String, password: String, from address: String) async throws -> Account? {
        if let seconds = signIns.begin(account: name, address: address, now: Self.monotonicSeconds) {
            throw Self.tooMany("too_many_failures", "Too many wrong passwords.", seconds)
        }
        let account: Account?
        let isRight: Bool
        do {
            account = try await store.account(email: name)
            isRight = try await hasher.verify(password, against: account?.passwordHash ?? decoyHash)
        } catch {
            signIns.forget(account: name, address: address)
            throw error
        }
        guard isRight, let account, !account.isDisabled else { return nil }
        signIns.succeed(account: name, address: address)
        return account
    }

    /// Counts one attempt of an address against a limit of its kind.
    func admit(_ throttle: AttemptThrottle, _ request: Request, _ call: Call) throws {
        let address = call.clientAddress(request)
        if let seconds = throttle.begin(account: nil, address: address, now: Self.monotonicSeconds) {
            throw Self.tooMany("too_many_attempts", "Too many attempts from one address.", seconds)
        }
    }

    static func tooMany(_ reason: String, _ detail: String, _ seconds: Int) -> Problem {
        .retryLater(.tooManyRequests, reason, detail, afterSeconds: seconds)
    }

    private static let epoch = ContinuousClock.now

    private static var monotonicSeconds: Double {
        Double(epoch.duration(to: .now).microseconds) / 1_000_000
    }
}
