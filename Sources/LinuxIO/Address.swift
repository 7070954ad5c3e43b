internal import CLinux
public import Memory

/// An IP address and port. An IPv4 address stands in the last four bytes, behind `::ffff:`.
@frozen public struct SocketAddress: Equatable, Hashable, Sendable {
    /// The 16 bytes as two words in the machine's order.
    public var high: UInt64
    public var low: UInt64
    public var port: UInt16
    public var isV6: Bool

    /// From 16 bytes, in network order; `isV6` says which kind of socket it takes.
    public init(bytes: [UInt8], port: UInt16, isV6: Bool) {
        precondition(bytes.count == 16)
        high = bytes.rawSpan.word(at: 0)
        low = bytes.rawSpan.word(at: 8)
        self.port = port
        self.isV6 = isV6
    }

    @inlinable public init(high: UInt64, low: UInt64, port: UInt16, isV6: Bool) {
        self.high = high
        self.low = low
        self.port = port
        self.isV6 = isV6
    }

    /// An IPv4 address, its first byte the most significant of the number.
    @inlinable public init(ipv4: UInt32, port: UInt16) {
        self.init(
            high: 0, low: (0x0000_FFFF_0000_0000 | UInt64(ipv4)).bigEndian, port: port, isV6: false)
    }

    /// The IPv4 address that `::ffff:a.b.c.d` stands for (RFC 4291 §2.5.5.2), any other as it is: one client must not be two
    /// by how its address is written.
    @inlinable public var unmapped: SocketAddress {
        let isMapped = high == 0 && low & 0xFFFF_FFFF == UInt64(0x0000_FFFF_0000_0000).bigEndian
        return SocketAddress(high: high, low: low, port: port, isV6: isV6 && !isMapped)
    }

    /// The peer of a socket in the file system, which has no address. It is in no range of addresses.
    @inlinable public static var unix: SocketAddress {
        SocketAddress(high: .max, low: .max, port: 0, isV6: false)
    }

    /// An IPv4 address has no bit set in its first word.
    @inlinable public var isUnix: Bool { !isV6 && high != 0 }

    /// Calls `body` with the 16 bytes of the address, in network order.
    @inlinable public func withAddressBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
        var copy = (high, low)
        return unsafe withUnsafeBytes(of: &copy) { unsafe body(RawSpan(_unsafeBytes: $0)) }
    }

    /// Two octets as decimal numbers with a dot behind each, as a word of text with its first byte in the lowest place, and how
    /// many bytes that is: 4 to 8.
    @inline(__always) private static func octets(_ pair: UInt64) -> (text: UInt64, count: Int) {
        let (first, count) = octet(pair >> 8 & 0xFF)
        let (second, secondCount) = octet(pair & 0xFF)
        return (first | second &<< UInt64(count &* 8), count &+ secondCount)
    }

    @inline(__always) private static func octet(_ value: UInt64) -> (text: UInt64, count: Int) {
        if value < 10 { return (0x2e30 &+ value, 2) }
        if value < 100 {
            // A tenth, and below a hundredth: exact for what an octet can be.
            let tens = (value &* 103) &>> 10
            return (0x2e_3030 &+ tens &+ (value &- tens &* 10) &<< 8, 3)
        }
        let hundreds = (value &* 41) &>> 12
        let rest = value &- hundreds &* 100
        let tens = (rest &* 103) &>> 10
        return (0x2e30_3030 &+ hundreds &+ tens &<< 8 &+ (rest &- tens &* 10) &<< 16, 4)
    }

    /// Appends the address as text (RFC 5952 for IPv6, without brackets and port).
    public func appendText(to block: inout Block) {
        if isUnix {
            block.append("unix")
            return
        }
        // Each request says its client's address, and `inet_ntop` prints it by `sprintf`: 1,500 instructions to these 80.
        if !isV6, block.freeCount >= 16 {
            let address = low.bigEndian
            let (first, firstCount) = SocketAddress.octets(address >> 16)
            let (second, secondCount) = SocketAddress.octets(address)
            // The first dot between the halves is the one behind the second number.
            block.append(word: first, count: firstCount)
            block.append(word: second, count: secondCount &- 1)
            return
        }
        var text = InlineArray<48, CChar>(repeating: 0)
        var address = (high, low)
        unsafe withUnsafeMutableBytes(of: &text) { space in
            unsafe withUnsafeBytes(of: &address) { bytes in
                guard let out = unsafe space.baseAddress?.assumingMemoryBound(to: CChar.self),
                    let base = bytes.baseAddress
                else { return }
                _ = unsafe inet_ntop(isV6 ? AF_INET6 : AF_INET, isV6 ? base : base + 12, out, 48)
                let length = unsafe strnlen(out, 48)
                unsafe block.append(RawSpan(_unsafeStart: out, byteCount: length))
            }
        }
    }

    /// The address that `text` is, of either kind, without port; `nil` when it is none (`inet_pton(3)`).
    public static func parse(_ text: RawSpan) -> SocketAddress? {
        guard text.byteCount > 0, text.byteCount < 46 else { return nil }
        var copy = InlineArray<48, CChar>(repeating: 0)
        var isV6 = false
        for index in 0..<text.byteCount {
            let byte = text[index]
            if byte == 0 { return nil }
            if byte == 0x3a { isV6 = true }
            copy[index] = CChar(bitPattern: byte)
        }
        var words = (UInt64(0), isV6 ? 0 : UInt64(0x0000_FFFF_0000_0000).bigEndian)
        let isParsed = unsafe withUnsafeMutableBytes(of: &words) { space in
            unsafe withUnsafeBytes(of: &copy) { source in
                guard let base = space.baseAddress,
                    let from = unsafe source.baseAddress?.assumingMemoryBound(to: CChar.self)
                else { return false }
                return unsafe inet_pton(isV6 ? AF_INET6 : AF_INET, from, isV6 ? base : base + 12) == 1
            }
        }
        return isParsed ? SocketAddress(high: words.0, low: words.1, port: 0, isV6: isV6) : nil
    }

    /// `address:port`, an IPv6 address in brackets. For messages.
    public var text: String {
        if isUnix { return "unix" }
        let pool = BlockPool(blockBytes: 256, limit: 1)
        guard var block = pool.take() else { return "" }
        appendText(to: &block)
        let address = block.bytes.text
        return isV6 ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
}

/// Sockets are made here; what is done with one is on `Descriptor`.
public enum Sockets {
    private static func withBytes<Result>(
        of address: SocketAddress, _ body: (UnsafePointer<UInt8>) -> Result
    ) -> Result {
        var copy = (address.high, address.low)
        return unsafe withUnsafePointer(to: &copy) { pointer in
            unsafe pointer.withMemoryRebound(to: UInt8.self, capacity: 16) { unsafe body($0) }
        }
    }

    /// Opens a listening socket. `sharesPort` sets SO_REUSEPORT: one descriptor a worker.
    public static func listen(
        at address: SocketAddress, sharesPort: Bool, backlog: Int32
    ) throws(SystemError) -> Descriptor {
        let result = unsafe withBytes(of: address) { bytes in
            unsafe cl_listen(address.isV6 ? 1 : 0, bytes, address.port, sharesPort ? 1 : 0, backlog)
        }
        return Descriptor(owning: try SystemError.check(result))
    }

    /// The port that a socket is bound to.
    public static func localPort(of descriptor: borrowing Descriptor) throws(SystemError) -> UInt16 {
        UInt16(try SystemError.check(cl_local_port(descriptor.number)))
    }

    /// What came of one accept.
    public enum Accepted: ~Copyable {
        case connection(Descriptor, SocketAddress)
        case none
        case failed(SystemError)
    }

    /// Takes one connection from the queue of a listening descriptor; Nagle's algorithm is off on it.
    public static func accept(from listener: Int32) -> Accepted {
        var isV6: Int32 = 0
        var port: UInt16 = 0
        var bytes = (UInt64(0), UInt64(0))
        let result = unsafe withUnsafeMutablePointer(to: &bytes) { pointer in
            unsafe pointer.withMemoryRebound(to: UInt8.self, capacity: 16) {
                unsafe cl_accept(listener, &isV6, $0, &port)
            }
        }
        if result >= 0 {
            let address = SocketAddress(high: bytes.0, low: bytes.1, port: port, isV6: isV6 != 0)
            if !address.isUnix { _ = cl_no_delay(result) }
            return .connection(Descriptor(owning: result), address)
        }
        switch -result {
        case EAGAIN: return .none
        // The connection died in the queue: look for the next one.
        case ECONNABORTED, EINTR, EPROTO: return .failed(SystemError(code: -result))
        default: return .failed(SystemError(code: -result))
        }
    }

    /// Begins to connect; the poller tells when it stands, `Descriptor.connectError` how it went.
    public static func connect(to address: SocketAddress) throws(SystemError) -> Descriptor {
        let result = unsafe withBytes(of: address) { bytes in
            unsafe cl_connect(address.isV6 ? 1 : 0, bytes, address.port)
        }
        return Descriptor(owning: try SystemError.check(result))
    }
}

/// The file of a listening socket: removed when its owner lets go, unless another has been put in its place.
public struct SocketFile: ~Copyable, Sendable {
    private let path: String
    private let identity: (UInt64, UInt64)

    fileprivate init(path: String, identity: (UInt64, UInt64)) {
        self.path = path
        self.identity = identity
    }

    deinit {
        var copy = identity
        _ = unsafe withUnsafePointer(to: &copy) { pointer in
            unsafe pointer.withMemoryRebound(to: UInt64.self, capacity: 2) {
                unsafe cl_remove_socket(path, $0)
            }
        }
    }
}

extension Sockets {
    /// Bytes of the longest path (`unix(7)`).
    public static let longestPath = 107

    /// Listens at a path; `file` becomes the socket's file. One that nobody listens on any more is replaced; one that is
    /// alive, and anything else that stands there, is an error.
    public static func listen(
        atPath path: String, mode: UInt32, backlog: Int32, file: inout SocketFile?
    ) throws(SystemError) -> Descriptor {
        var identity = (UInt64(0), UInt64(0))
        let result = unsafe withUnsafeMutablePointer(to: &identity) { pointer in
            unsafe pointer.withMemoryRebound(to: UInt64.self, capacity: 2) {
                unsafe cl_listen_unix(path, mode, backlog, $0)
            }
        }
        let descriptor = Descriptor(owning: try SystemError.check(result))
        file = SocketFile(path: path, identity: identity)
        return descriptor
    }

    /// Begins to connect to a socket in the file system. A full queue is an error at once: nothing tells when it has room.
    public static func connect(toPath path: RawSpan) throws(SystemError) -> Descriptor {
        let result = unsafe path.withUnsafeBytes { unsafe cl_connect_unix($0.baseAddress, $0.count) }
        return Descriptor(owning: try SystemError.check(result))
    }

    /// Why systemd's socket of a name cannot be had.
    public enum HandOverError: Error, Equatable {
        case none
        /// So many have the name.
        case several(Int)
        case notListening(SystemError)
    }

    /// The socket that systemd handed over by this name (`sd_listen_fds_with_names(3)`); it stays open there for the next.
    public static func handedOver(name: String) throws(HandOverError) -> Descriptor {
        guard let process = Machine.environment("LISTEN_PID"), process == "\(Machine.processNumber)",
            let count = Machine.environment("LISTEN_FDS").flatMap({ Int32($0) }), count > 0
        else { throw .none }
        let names = (Machine.environment("LISTEN_FDNAMES") ?? "").split(
            separator: ":", omittingEmptySubsequences: false)
        // The first one is number 3 (`SD_LISTEN_FDS_START`).
        let numbers = names.indices.filter { $0 < count && names[$0] == name }.map { Int32($0) + 3 }
        guard let number = numbers.first else { throw .none }
        guard numbers.count == 1 else { throw .several(numbers.count) }
        let result = cl_adopt_listener(number)
        guard result >= 0 else { throw .notListening(SystemError(code: -result)) }
        return Descriptor(owning: result)
    }
}
