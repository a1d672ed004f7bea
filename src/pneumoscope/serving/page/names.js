// Names and messages from elsewhere, so that nothing in them is hidden: control characters, and characters that turn the
// direction of the text or are not seen at all, are shown as escapes such as \u202e.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

function escaped(character) {
  const code = character.codePointAt(0).toString(16);
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`;
}

export const reveal = (text) => String(text).replace(UNSEEN, escaped);
