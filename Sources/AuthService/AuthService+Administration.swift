internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import ServiceKit

/// What an administrator changes of an account. A member that is absent or null stays as it is.
private struct AccountChange: Decodable {
    let roles: [String]?
    let disabled: Bool?
}

/// For accounts with the role `admin` and a token with the scope `accounts`.
extension AuthService {
    private static let pageLimit = 100
    private static let roleLimit = 16
    private static let roleLimitBytes = 32

    func addAdministratorRoutes(_ router: Router<Call>, prefix: String) {
        router.get("\(prefix)/admin/users") { request, call in try await accounts(request, call) }
        router.patch("\(prefix)/admin/users/{id}") { request, call in
            try await changeAccount(request, call)
        }
        router.post("\(prefix)/admin/keys/rotate") { request, call in try await rotate(request, call) }
    }

    private func accounts(_ request: Request, _ call: Call) async throws -> Response {
        _ = try await administrator(request, call)
        let limit = try request.queryNumber("limit", in: 1...Self.pageLimit, fallback: 50)
        let cursor = request.queryText("cursor")
        guard cursor.map({ Identifier.isValid($0) }) ?? true else {
            throw Problem(.badRequest, "invalid_query", "cursor must be one that an answer gave.")
        }
        let found = try await store.accounts(
            after: cursor, email: request.queryText("email").map { EmailAddress.normal($0) ?? $0 },
            limit: limit + 1)
        let page = found.prefix(limit)
        return Reply.json(
            AccountList(
                users: page.map(AccountLine.init),
                nextCursor: found.count > limit ? page.last?.id : nil))
    }

    private func changeAccount(_ request: Request, _ call: Call) async throws -> Response {
        let administrator = try await administrator(request, call)
        let change = try await request.json(AccountChange.self, limitBytes: Self.bodyLimitBytes)
        let roles = try change.roles.map(Self.check(roles:))
        guard let id = call.parameters.get("id"), Identifier.isValid(id) else {
            throw Problem.notFound("account")
        }
        // Otherwise the last administrator could lock everybody out.
        if id == administrator.account.id {
            guard change.disabled != true, roles?.contains("admin") ?? true else {
                throw Problem(.conflict, "own_account", "Nobody may take administration from themselves.")
            }
        }
        guard
            let account = try await store.change(
                account: id, roles: roles, isDisabled: change.disabled, now: now, trace: call.trace)
        else { throw Problem.notFound("account") }
        call.logger.notice(
            "account changed",
            metadata: [
                "account": .string(id), "roles": .string(account.roles.joined(separator: " ")),
                "disabled": .stringConvertible(account.isDisabled),
            ])
        return Reply.json(AccountLine(account))
    }

    private func rotate(_ request: Request, _ call: Call) async throws -> Response {
        _ = try await administrator(request, call)
        // Asked before a key is made: making one costs up to a second.
        let seconds = keys.secondsUntilRotation(now: now)
        guard seconds == 0 else { throw Self.nextTooYoung(seconds) }
        let successor = try await hasher.computed { try TokenSigner() }
        switch try await store.rotate(successor: successor, now: now) {
        case .tooSoon(let seconds): throw Self.nextTooYoung(seconds)
        case .done(let rotated):
            keys.replace(rotated)
            call.logger.notice("signing key rotated", metadata: ["kid": .string(keys.signer.kid)])
            return Reply.json(KeyList(rotated))
        }
    }

    private static func nextTooYoung(_ seconds: Int) -> Problem {
        .retryLater(
            .conflict, "next_key_too_young", "Verifiers may not have seen the next key yet.",
            afterSeconds: seconds)
    }

    private static func check(roles: [String]) throws -> [String] {
        let isGood = roles.allSatisfy { role in
            (1...roleLimitBytes).contains(role.utf8.count)
                && role.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                        UInt8(ascii: "-"):
                        true
                    default: false
                    }
                }
        }
        guard isGood, roles.count <= roleLimit, Set(roles).count == roles.count else {
            throw Problem(
                .badRequest, "invalid_roles",
                "At most \(roleLimit) roles of lower-case letters, digits and hyphens, each once.")
        }
        return roles
    }
}
