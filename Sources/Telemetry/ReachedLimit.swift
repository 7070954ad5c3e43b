/// A limit of the configuration that somebody has reached, for the counter that tells how often each was. Closed: one case a
/// limit, and the case's number is its place among the counters.
public enum ReachedLimit: Int, CaseIterable, Sendable {
    case requestLine, head, body, headTimeout, bodyIdleTimeout, minimumBodyRate, resets, controlFrames
    case connections, connectionsPerClient, handshakeTimeout, handshakesInFlight
    case blocks, memoryBudget, descriptors, exchanges, keyLot

    /// The key of the configuration, where there is one: the label of the counter.
    public var name: String {
        switch self {
        case .requestLine: "request_line"
        // Its bytes and the number of its fields.
        case .head: "head"
        case .body: "body"
        case .headTimeout: "head_timeout"
        case .bodyIdleTimeout: "body_idle_timeout"
        case .minimumBodyRate: "min_body_rate"
        case .resets: "resets"
        case .controlFrames: "control_frames"
        case .connections: "connections.max"
        case .connectionsPerClient: "connections.per_client"
        case .handshakeTimeout: "handshake.timeout"
        case .handshakesInFlight: "handshake.in_flight"
        case .blocks: "memory.blocks"
        case .memoryBudget: "memory.budget"
        case .descriptors: "descriptors"
        case .exchanges: "exchanges"
        // Requests that wait for the key of their token, of one worker.
        case .keyLot: "keys.waiting"
        }
    }
}
