/// How an error crosses HTTP: the one table, read by the bus from left to right and by its client from right to left.
extension BackboneError {
    /// The status, the stable reason and the sentence of the answer.
    package var told: (status: Int, reason: String, detail: String) {
        switch self {
        case .unavailable(let detail): (503, "unavailable", detail)
        case .storageFull(let detail): (507, "storage_full", detail)
        case .refused(let refusal): (422, refusal.reason, refusal.detail)
        case .unauthorized: (401, "service_token_invalid", "This is for services of the platform.")
        case .notFound: (404, "not_found", "There is no such thing.")
        case .leaseLost: (409, "lease_lost", "The lease had run out.")
        }
    }

    /// What an answer that is none of success says.
    package init(status: Int, reason: String, detail: String) {
        switch status {
        case 401: self = .unauthorized
        case 404: self = .notFound
        case 409: self = .leaseLost
        case 507: self = .storageFull(detail)
        // What was sent is at fault, and will be each time.
        case 400, 405, 413, 415, 422: self = .refused(Refusal(reason, detail))
        default: self = .unavailable("status \(status) \(reason): \(detail)")
        }
    }
}
