import Foundation
import ServiceKit
import Testing

@testable import CoreService

@Suite("The web page's files") struct WebPageTests {
    @Test(
        "Each is served with its type, its policy and a validator, to GET and HEAD",
        arguments: WebPage.files.map(\.path))
    func served(path: String) async throws {
        try await Harness.withCore { core in
            let file = try #require(WebPage.files.first { $0.path == path })
            let answer = try await Harness.ask(core, "GET", path)
            #expect(answer.status == 200)
            #expect([UInt8](answer.body) == file.bytes && !file.bytes.isEmpty)
            #expect(answer.field("Content-Type") == file.mediaType)
            #expect(answer.field("X-Content-Type-Options") == "nosniff")
            #expect(answer.field("Cache-Control") == "no-cache")
            let policy = try #require(answer.field("Content-Security-Policy"))
            #expect(policy.hasPrefix("default-src 'none'; script-src 'self'; "))
            #expect(!policy.contains("unsafe"))
            #expect(policy.contains("require-trusted-types-for 'script'"))

            let tag = try #require(answer.field("ETag"))
            for (fields, status) in [
                ([("If-None-Match", tag)], 304), ([("If-None-Match", "\"other\"")], 200),
            ] {
                let again = try await Harness.ask(core, "GET", path, fields: fields)
                #expect(again.status == status)
                #expect(again.body.isEmpty == (status == 304))
                #expect(again.field("ETag") == tag)
            }
            let head = try await Harness.ask(core, "HEAD", path)
            #expect(head.status == 200 && head.body.isEmpty)
            #expect(head.field("Content-Length") == String(file.bytes.count))
        }
    }

    @Test("The page has no script and no style of its own, and names only files that there are")
    func references()
        throws
    {
        let html = try text("/")
        #expect(html.matches(of: /<script\b[^>]*>\s*<\/script>/).count == html.matches(of: /<script\b/).count)
        for word in ["<style", " style=", " onclick", " onload", "javascript:", "http:", "//"] {
            #expect(!html.replacing("https://example.com/hook", with: "").contains(word), "\(word)")
        }
        let paths = Set(WebPage.files.map(\.path))
        let named = html.matches(of: /(?:href|src)="([^"]*)"/).map { String($0.1) }
        #expect(named.count >= 4)
        #expect(named.allSatisfy(paths.contains))
    }

    @Test("The scripts import only each other, and make no HTML of strings") func scripts() throws {
        let paths = Set(WebPage.files.map(\.path))
        for path in paths where path.hasSuffix(".js") {
            let script = try text(path)
            #expect(script.matches(of: /from "([^"]*)"/).allSatisfy { paths.contains(String($0.1)) })
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                #expect(!script.contains(word), "\(path): \(word)")
            }
        }
    }

    private func text(_ path: String) throws -> String {
        String(decoding: try #require(WebPage.files.first { $0.path == path }).bytes, as: UTF8.self)
    }
}
