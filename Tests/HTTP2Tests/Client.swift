import CNghttp2
import HTTP2
import Memory

/// A client session of nghttp2: an implementation of HTTP/2 that is not ours, to talk to.
///
/// Invariant that makes it safe: the session is this object's alone, and does not outlive it.
@safe final class Client {
    struct Stream {
        /// All fields but those of trailers, interim heads included.
        var fields: [String] = []
        var trailers: [String] = []
        var body: [UInt8] = []
        var hasEnded = false
        var closeCode: UInt32?
    }

    fileprivate(set) var streams: [Int32: Stream] = [:]
    fileprivate(set) var goAways: [UInt32] = []
    fileprivate var uploads: [Int32: [UInt8]] = [:]
    fileprivate var handle: OpaquePointer?

    /// `automaticWindow` false: credit is given by `consume`.
    init(automaticWindow: Bool = true, window: UInt32 = 65535) {
        var callbacks: OpaquePointer?
        _ = unsafe nghttp2_session_callbacks_new(&callbacks)
        unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks, clientHeader)
        unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, clientData)
        unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, clientFrame)
        unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, clientClose)
        var options: OpaquePointer?
        _ = unsafe nghttp2_option_new(&options)
        unsafe nghttp2_option_set_no_auto_window_update(options, automaticWindow ? 0 : 1)
        let me = unsafe Unmanaged.passUnretained(self).toOpaque()
        _ = unsafe nghttp2_session_client_new2(&handle, callbacks, me, options)
        unsafe nghttp2_option_del(options)
        unsafe nghttp2_session_callbacks_del(callbacks)
        var entry = nghttp2_settings_entry(
            settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue), value: window)
        _ = unsafe nghttp2_submit_settings(handle, 0, &entry, 1)
    }

    deinit { unsafe nghttp2_session_del(handle) }

    /// Sends a request; with a body where one is given, however empty, and trailers after it.
    @discardableResult func request(
        _ fields: [(String, String)], body: [UInt8]? = nil, trailers: [(String, String)] = []
    ) -> Int32 {
        unsafe withPairs(fields) { pairs, count in
            guard let body else { return unsafe nghttp2_submit_request(handle, nil, pairs, count, nil, nil) }
            pendingTrailers = trailers
            var provider = unsafe nghttp2_data_provider(
                source: nghttp2_data_source(), read_callback: clientRead)
            let number = unsafe nghttp2_submit_request(handle, nil, pairs, count, &provider, nil)
            uploads[number] = body
            return number
        }
    }

    fileprivate var pendingTrailers: [(String, String)] = []

    func reset(_ number: Int32, _ code: UInt32) {
        _ = unsafe nghttp2_submit_rst_stream(handle, 0, number, code)
    }

    func ping() { _ = unsafe nghttp2_submit_ping(handle, 0, nil) }

    func consume(_ number: Int32, _ count: Int) { _ = unsafe nghttp2_session_consume(handle, number, count) }

    var wantsToGoOn: Bool {
        unsafe nghttp2_session_want_read(handle) != 0 || nghttp2_session_want_write(handle) != 0
    }

    func written() -> [UInt8] {
        var all: [UInt8] = []
        while true {
            var data: UnsafePointer<UInt8>?
            let count = unsafe nghttp2_session_mem_send(handle, &data)
            guard count > 0 else { return all }
            all += unsafe Array(UnsafeBufferPointer(start: data, count: count))
        }
    }

    /// Whether all of `bytes` was good HTTP/2.
    @discardableResult func receive(_ bytes: [UInt8]) -> Bool {
        let used = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe nghttp2_session_mem_recv(handle, buffer.baseAddress, buffer.count)
        }
        return used == bytes.count
    }

    fileprivate func withPairs<Result>(
        _ fields: [(String, String)], _ body: (UnsafePointer<nghttp2_nv>?, Int) -> Result
    ) -> Result {
        var texts: [UnsafeMutablePointer<UInt8>] = unsafe []
        defer { unsafe texts.forEach { unsafe $0.deallocate() } }
        func copy(_ text: String) -> UnsafeMutablePointer<UInt8> {
            let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: text.utf8.count + 1)
            for (index, byte) in text.utf8.enumerated() { unsafe memory[index] = byte }
            unsafe texts.append(memory)
            return unsafe memory
        }
        let pairs = unsafe fields.map { name, value in
            unsafe nghttp2_nv(
                name: copy(name), value: copy(value), namelen: name.utf8.count, valuelen: value.utf8.count,
                flags: 0)
        }
        return unsafe pairs.withUnsafeBufferPointer { unsafe body($0.baseAddress, $0.count) }
    }
}

private func client(_ argument: UnsafeMutableRawPointer?) -> Client {
    guard let argument = unsafe argument else { preconditionFailure("nghttp2 lost its client") }
    return unsafe Unmanaged<Client>.fromOpaque(argument).takeUnretainedValue()
}

private func clientHeader(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ name: UnsafePointer<UInt8>?,
    _ nameCount: Int, _ value: UnsafePointer<UInt8>?, _ valueCount: Int, _ flags: UInt8,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    let name = unsafe String(decoding: UnsafeBufferPointer(start: name, count: nameCount), as: UTF8.self)
    let value = unsafe String(decoding: UnsafeBufferPointer(start: value, count: valueCount), as: UTF8.self)
    guard let frame = unsafe frame else { return 0 }
    let number = unsafe frame.pointee.hd.stream_id
    let me = unsafe client(argument)
    // A head after DATA has no :status.
    let isTrailer = me.streams[number].map { !$0.body.isEmpty } ?? false
    if isTrailer {
        me.streams[number, default: .init()].trailers.append("\(name): \(value)")
    } else {
        me.streams[number, default: .init()].fields.append("\(name): \(value)")
    }
    return 0
}

private func clientData(
    _ handle: OpaquePointer?, _ flags: UInt8, _ number: Int32, _ data: UnsafePointer<UInt8>?, _ count: Int,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    unsafe client(argument).streams[number, default: .init()].body += UnsafeBufferPointer(
        start: data, count: count)
    return 0
}

private func clientFrame(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let frame = unsafe frame else { return 0 }
    let header = unsafe frame.pointee.hd
    let me = unsafe client(argument)
    switch UInt32(header.type) {
    case NGHTTP2_GOAWAY.rawValue: unsafe me.goAways.append(frame.pointee.goaway.error_code)
    case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
        if header.flags & 1 != 0 { me.streams[header.stream_id, default: .init()].hasEnded = true }
    default: break
    }
    return 0
}

private func clientClose(
    _ handle: OpaquePointer?, _ number: Int32, _ code: UInt32, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    unsafe client(argument).streams[number, default: .init()].closeCode = code
    return 0
}

private func clientRead(
    _ handle: OpaquePointer?, _ number: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ limit: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _ source: UnsafeMutablePointer<nghttp2_data_source>?,
    _ argument: UnsafeMutableRawPointer?
) -> Int {
    guard let buffer = unsafe buffer, let flags = unsafe flags else { return 0 }
    let me = unsafe client(argument)
    let left = me.uploads[number] ?? []
    let count = min(left.count, limit)
    for index in 0..<count { unsafe buffer[index] = left[index] }
    me.uploads[number] = Array(left.dropFirst(count))
    guard count == left.count else { return count }
    unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
    if !me.pendingTrailers.isEmpty {
        unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
        let trailers = me.pendingTrailers
        unsafe me.withPairs(trailers) { pairs, count in
            _ = unsafe nghttp2_submit_trailer(handle, number, pairs, count)
        }
    }
    return count
}
