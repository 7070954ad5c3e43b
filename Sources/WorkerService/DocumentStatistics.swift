/// What can be counted in a document.
struct DocumentStatistics: Encodable, Equatable {
    /// Words listed by how often they come; the others are only counted.
    static let listedWords = 10
    /// Words per minute of a calm reader.
    private static let readingSpeed = 200

    struct Frequency: Encodable, Equatable {
        let word: String
        let count: Int
    }

    let characters: Int
    let lines: Int
    /// Runs of letters and digits, with apostrophes and hyphens between them.
    let words: Int
    let distinctWords: Int
    /// Ended by a full stop, an exclamation or question mark, or the end of the text.
    let sentences: Int
    let readingSeconds: Int
    /// The most frequent first; the same number by the alphabet.
    let frequentWords: [Frequency]

    init(_ text: String) {
        var counts: [String: Int] = [:]
        var words = 0
        var sentences = 0
        var word = ""
        /// An apostrophe or hyphen, which is part of the word only when it goes on.
        var joint = ""
        var isInSentence = false
        func endWord() {
            if !word.isEmpty {
                counts[word.lowercased(), default: 0] += 1
                words += 1
            }
            word = ""
            joint = ""
        }
        for character in text {
            switch character {
            case _ where character.isLetter || character.isNumber:
                word += joint
                joint = ""
                word.append(character)
                isInSentence = true
            case "'", "\u{2019}", "-":
                if word.isEmpty || !joint.isEmpty { endWord() } else { joint = String(character) }
            default:
                endWord()
                if ".!?".contains(character), isInSentence {
                    sentences += 1
                    isInSentence = false
                }
            }
        }
        endWord()
        characters = text.count
        lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).count
        self.words = words
        distinctWords = counts.count
        self.sentences = sentences + (isInSentence ? 1 : 0)
        readingSeconds = (words * 60 + Self.readingSpeed - 1) / Self.readingSpeed
        frequentWords = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(Self.listedWords)
            .map { Frequency(word: $0.key, count: $0.value) }
    }
}
