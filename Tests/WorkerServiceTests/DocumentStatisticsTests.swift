import Testing

@testable import WorkerService

@Suite("What is counted in a document") struct DocumentStatisticsTests {
    @Test("Words, sentences and lines are counted, the frequent words first") func counted() {
        let found = DocumentStatistics("The cat's hat. The well-known cat?\nNo -- the 'cat' ran... away")
        #expect(found.words == 11)
        #expect(found.sentences == 4)
        #expect(found.lines == 2)
        #expect(found.readingSeconds == 4)
        #expect(
            found.frequentWords.prefix(2) == [.init(word: "the", count: 3), .init(word: "cat", count: 2)])
        #expect(found.frequentWords.contains(.init(word: "cat's", count: 1)))
        #expect(found.frequentWords.contains(.init(word: "well-known", count: 1)))
    }

    @Test(
        "An empty text, and one of signs alone, have no word and no sentence", arguments: ["", "...", "- '"])
    func empty(text: String) {
        let found = DocumentStatistics(text)
        #expect(found.words == 0 && found.sentences == 0 && found.distinctWords == 0)
        #expect(found.characters == text.count)
    }

    @Test("However many words there are, ten are listed") func bounded() {
        let found = DocumentStatistics((0..<1_000).map { "word\($0)" }.joined(separator: " "))
        #expect(found.frequentWords.count == 10)
        #expect(found.distinctWords == 1_000)
    }
}
