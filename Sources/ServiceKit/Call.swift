public import Hummingbird
internal import Logging
internal import NIOCore
internal import Synchronization

/// One request on its way through a service, beside the request itself.
public struct Call: RequestContext {
    public var coreContext: CoreRequestContextStorage
    /// The correlation id: the gateway's when it sent a usable one, otherwise made here.
    public internal(set) var requestID: String
    /// The correlation id and the W3C trace, for what this call causes: events, jobs, further requests.
    public internal(set) var trace: Trace
    /// What the handlers found out, for the log.
    public let notes: CallNotes
    private let peerAddress: String
    private let isPeerLocal: Bool

    public init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        requestID = ""
        trace = Trace(requestID: "", traceparent: nil)
        notes = CallNotes()
        let address = source.channel.remoteAddress
        peerAddress = address?.ipAddress ?? "unknown"
        isPeerLocal = peerAddress.hasPrefix("127.") || peerAddress == "::1" || address?.ipAddress == nil
    }

    /// The client's address: the last one that `X-Forwarded-For` names when the peer is on this machine (the gateway
    /// writes it there), otherwise the peer's. A stranger's field is never believed.
    public func clientAddress(_ request: Request) -> String {
        guard isPeerLocal, let field = request.headers[.forwardedFor],
            let last = field.split(separator: ",").last
        else { return peerAddress }
        let address = last.filter { !$0.isWhitespace }
        return address.isEmpty || address.utf8.count > 64 ? peerAddress : address
    }
}

/// Filled by the handlers of a call, read once by the log line.
public final class CallNotes: Sendable {
    private let subjectCell = Mutex<String?>(nil)
    private let routineCell = Mutex(false)

    /// Who the verified token says is calling.
    public var subject: String? {
        get { subjectCell.withLock { $0 } }
        set { subjectCell.withLock { $0 = newValue } }
    }

    /// Comes many times a second for ever, and its success says nothing: logged for who debugs, unless it fails.
    public var isRoutine: Bool {
        get { routineCell.withLock { $0 } }
        set { routineCell.withLock { $0 = newValue } }
    }
}
