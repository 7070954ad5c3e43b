import HTTP
import Memory
import Testing

/// The normal form as text, the refusal, or the path itself when it is unchanged.
private func normal(_ path: String, merge: Bool = true) -> (PathAnswer, String) {
    let pool = BlockPool(blockBytes: 1024, limit: 1)
    guard var block = pool.take() else { return (.refused(.tooLong), "") }
    let bytes = Array(path.utf8)
    let answer = PathForm.normalize(bytes.rawSpan, mergeSlashes: merge, into: &block)
    return (answer, answer == .rewritten ? block.bytes.text : path)
}

@Suite("RFC 3986 §6.2.2: the normal form of a path") struct PathFormTests {
    @Test(
        "a path in normal form stays as it is",
        arguments: [
            "/", "/a", "/a/", "/a/b.c/d..e/..f/.g", "/.well-known/x", "/...", "/%2F", "/a%20b/%C3%BC", "/%25",
            "/a;b=c,d/@:!$&'()*+=~_-", "/[a]|{b}\"<>^`", "/a.", "/12345678/1234567/123456/", "/..a", "/a..",
            "/%252e",
        ])
    func unchanged(path: String) {
        let merged = normal(path)
        #expect(merged == (.unchanged, path))
        let kept = normal(path, merge: false)
        #expect(kept == (.unchanged, path))
    }

    @Test(
        "dot segments are resolved, unreserved characters decoded, digits put in upper case",
        arguments: [
            ("/.", "/"), ("/./", "/"), ("/a/.", "/a/"), ("/a/./b", "/a/b"), ("/a/..", "/"), ("/a/../", "/"),
            ("/a/b/..", "/a/"), ("/a/b/../c", "/a/c"), ("/a/b/../../c", "/c"), ("/%2e", "/"),
            ("/a/%2E%2e/b", "/b"), ("/a/.%2e/b", "/b"), ("/%61", "/a"), ("/%7e%2d%5f%30", "/~-_0"),
            ("/a%2fb", "/a%2Fb"), ("/%c3%bc", "/%C3%BC"), ("/%0a%7f", "/%0A%7F"),
            ("/12345678/./a", "/12345678/a"),
            ("/1234567/../a", "/a"), ("/1234567/..", "/"), ("/a/%2e%2E", "/"),
        ])
    func rewritten(path: String, expected: String) {
        let merged = normal(path)
        #expect(merged == (.rewritten, expected))
        let kept = normal(path, merge: false)
        #expect(kept == (.rewritten, expected))
    }

    @Test(
        "empty segments are merged, or kept when told so",
        arguments: [
            ("//", "/", "//"), ("//a", "/a", "//a"), ("/a//b", "/a/b", "/a//b"), ("/a//", "/a/", "/a//"),
            ("/a///b//", "/a/b/", "/a///b//"), ("/1234567//", "/1234567/", "/1234567//"),
            ("/a//../b", "/b", "/a/b"), ("/a//..", "/", "/a/"), ("//..", "", "/"),
            ("/a/.//b", "/a/b", "/a//b"),
        ])
    func slashes(path: String, merged: String, kept: String) {
        let answer = normal(path)
        if merged.isEmpty {
            #expect(answer.0 == .refused(.aboveRoot))
        } else {
            #expect(answer == (.rewritten, merged))
        }
        #expect(normal(path, merge: false).1 == kept)
    }

    @Test(
        "what hides from the match or from the service is refused",
        arguments: [
            ("", PathError.notAbsolute), ("a", .notAbsolute), ("*", .notAbsolute), ("%2Fa", .notAbsolute),
            ("/%", .badPercentEncoding), ("/%2", .badPercentEncoding), ("/%2g", .badPercentEncoding),
            ("/%g2", .badPercentEncoding), ("/%%32", .badPercentEncoding), ("/a%2/b", .badPercentEncoding),
            ("/%00", .encodedNul), ("/a%00b", .encodedNul), ("/\\", .backslash), ("/%5c", .backslash),
            ("/%5C..", .backslash), ("/a#b", .badByte), ("/a?b", .badByte), ("/a b", .badByte),
            ("/a\tb", .badByte), ("/a\0", .badByte), ("/a\u{7f}", .badByte), ("/\u{e9}", .badByte),
            ("/..", .aboveRoot), ("/../a", .aboveRoot), ("/a/../..", .aboveRoot), ("/%2e%2e/", .aboveRoot),
            ("/./../a", .aboveRoot), ("/1234567/12345678#", .badByte), ("/1234567\\12345678", .backslash),
        ])
    func refused(path: String, expected: PathError) {
        let answer = normal(path)
        #expect(answer.0 == .refused(expected))
    }

    @Test("the normal form is its own normal form, over every short path of the bytes that matter")
    func idempotent() {
        let pieces = ["/", ".", "a", "%2e", "%2F", "%41", ";"]
        var paths = [""]
        for _ in 0..<5 { paths = paths.flatMap { path in pieces.map { path + $0 } } }
        for path in paths {
            for merge in [true, false] {
                let first = normal("/" + path, merge: merge)
                if case .refused = first.0 { continue }
                let second = normal(first.1, merge: merge)
                guard second.0 == .unchanged else {
                    Issue.record("\(path) -> \(first.1) -> \(second)")
                    return
                }
                let segments = first.1.split(separator: "/", omittingEmptySubsequences: false)
                let isClean = !segments.contains(".") && !segments.contains("..")
                #expect(isClean && (!merge || !first.1.contains("//")), "\(path)")
            }
        }
    }

    @Test("what stands around a path changes nothing, whatever byte stands where in it")
    func surrounded() {
        let pool = BlockPool(blockBytes: 1024, limit: 1)
        guard var block = pool.take() else { return }
        var differing: [String] = []
        for length in [1, 2, 7, 15, 16, 17, 18, 31, 32, 33, 34, 49] {
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    var path = Array(repeating: UInt8(ascii: "a"), count: length)
                    path[0] = UInt8(ascii: "/")
                    if place > 0 { path[place - 1] = UInt8(ascii: "/") }
                    path[place] = byte
                    let alone = PathForm.normalize(path.rawSpan, mergeSlashes: true, into: &block)
                    let written = alone == .rewritten ? block.bytes.array : []
                    // Behind a path of HTTP/1 comes a space; what is behind one of HTTP/2 may be anything.
                    for behind in [" HTTP/1.1\r\nHost: a\r\n\r\n", "/../%00#?\\.......", "ab"] {
                        let all = Array("GET ".utf8) + path + Array(behind.utf8)
                        let range = ByteRange(start: 4, end: 4 + length)
                        let within = PathForm.normalize(
                            range, of: all.rawSpan, mergeSlashes: true, into: &block)
                        let isSame = within == alone && (within != .rewritten || block.bytes.array == written)
                        if !isSame { differing.append("\(byte) at \(place) of \(length)") }
                    }
                }
            }
        }
        #expect(differing == [])
    }

    @Test("a path longer than the block is refused")
    func long() {
        let answer = normal("/./" + String(repeating: "a", count: 1000))
        #expect(answer.0 == .refused(.tooLong))
    }
}
