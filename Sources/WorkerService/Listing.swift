internal import Hummingbird
internal import ServiceKit

extension Caller {
    /// Whose things a list tells of: the caller's own; for administrators also another's, or everybody's (`nil`, `owner=*`).
    func listedOwner(_ request: Request) throws -> String? {
        let asked = request.queryText("owner")
        guard isAdministrator || asked == nil || asked == subject else {
            throw Problem(.forbidden, "not_owner", "These are another account's.")
        }
        return asked == "*" ? nil : asked ?? subject
    }
}

extension Request {
    /// Where a list goes on, an id that it told last. It need not be sealed: whose things are listed is asked anew each time.
    func idCursor() throws -> String? {
        guard let text = queryText("cursor") else { return nil }
        guard Identifier.isValid(text) else { throw Problem.badCursor }
        return text
    }
}

extension Problem {
    static var badCursor: Problem {
        Problem(.badRequest, "invalid_query", "cursor must be one that this list gave.")
    }
}
