// The little of Markdown that texts of A2UI use, as HTML in which nothing of the text itself is markup.

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function inline(text) {
  const code = [];
  return escape(text)
    .replace(/`([^`]+)`/g, (_, it) => `\u0000${code.push(it) - 1}\u0000`)
    .replace(/\[([^\]]+)\]\(((?:https?:\/\/|mailto:)[^\s)]+)\)/g, '<a href="$2" target="_blank" rel="noopener">$1</a>')
    .replace(/(\*\*|__)(?=\S)(.+?)\1/g, "<strong>$2</strong>")
    .replace(/(?<![\w*])([*_])(?=\S)(.+?)\1(?![\w*])/g, "<em>$2</em>")
    .replace(/\u0000(\d+)\u0000/g, (_, at) => `<code>${code[at]}</code>`);
}

export function markdown(text) {
  const out = [];
  const lines = text.replaceAll("\u0000", "").split(/\r?\n/);
  const run = (pattern) => {
    const found = [];
    for (let match; lines.length && (match = pattern.exec(lines[0])); lines.shift()) found.push(match);
    return found;
  };
  const list = (tag, found) => `<${tag}>${found.map((it) => `<li>${inline(it[1])}</li>`).join("")}</${tag}>`;
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (line.trim() === "") lines.shift();
    else if (heading) {
      lines.shift();
      out.push(`<h${heading[1].length}>${inline(heading[2])}</h${heading[1].length}>`);
    } else if (line.startsWith("```")) {
      lines.shift();
      const code = run(/^(?!```)(.*)$/).map((it) => it[0]);
      lines.shift();
      out.push(`<pre><code>${escape(code.join("\n"))}</code></pre>`);
    } else if (/^\s*[-*+]\s+/.test(line)) out.push(list("ul", run(/^\s*[-*+]\s+(.*)$/)));
    else if (/^\s*\d+[.)]\s+/.test(line)) out.push(list("ol", run(/^\s*\d+[.)]\s+(.*)$/)));
    else {
      const text = run(/^(?!\s*$|#{1,6}\s|```|\s*[-*+]\s|\s*\d+[.)]\s)(.*)$/).map((it) => it[0]);
      out.push(`<p>${text.map(inline).join("<br>")}</p>`);
    }
  }
  return out.join("");
}
