/** A request of the page as programs send it: curl, openai-python, JavaScript; the key is a name in the environment. */

/** Where the samples find the key. */
export const VARIABLE = "TRUNKCALL_API_KEY";

/** What openai-python takes by name; everything else goes into its `extra_body`. */
const NAMED = new Set(
  [
    "model messages prompt stream stream_options temperature top_p max_tokens max_completion_tokens n stop seed user",
    "presence_penalty frequency_penalty logit_bias logprobs response_format tools tool_choice parallel_tool_calls",
    "reasoning_effort echo best_of suffix top_logprobs modalities metadata store verbosity",
  ]
    .join(" ")
    .split(" "),
);

/** For a shell. request: {path, body}; origin: of the server; closed: whether it needs a key. */
export function curl({ path, body }, { origin, closed }) {
  const lines = [`curl ${body.stream ? "-N " : ""}${origin}${path}`, "-H 'content-type: application/json'"];
  if (closed) lines.push(`-H "authorization: Bearer $${VARIABLE}"`);
  lines.push(`-d ${quoted(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n  ");
}

/** For Python with the package openai. */
export function python({ path, body }, { origin, closed }) {
  const named = Object.entries(body).filter(([name]) => NAMED.has(name));
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !NAMED.has(name)));
  if (Object.keys(extra).length) named.push(["extra_body", extra]);
  const chats = path.endsWith("/chat/completions");
  const key = closed ? `os.environ["${VARIABLE}"]` : '"any"';
  const piece = chats ? "chunk.choices[0].delta.content or \"\"" : "chunk.choices[0].text";
  const whole = chats ? "answer.choices[0].message.content" : "answer.choices[0].text";
  const reading = body.stream
    ? ["for chunk in answer:", "    if chunk.choices:", `        print(${piece}, end="", flush=True)`]
    : [`print(${whole})`];
  return [
    ...(closed ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${origin}/v1", api_key=${key})`,
    `answer = client.${chats ? "chat.completions" : "completions"}.create(`,
    ...named.map(([name, value]) => `    ${name}=${literal(value, 1)},`),
    ")",
    ...reading,
    "",
  ].join("\n");
}

/** For a browser, Node or Deno. */
export function javascript({ path, body }, { origin, closed }) {
  const shown = ['    "content-type": "application/json",'];
  if (closed) shown.push(`    authorization: \`Bearer \${process.env.${VARIABLE}}\`,`);
  const piece = path.endsWith("/chat/completions")
    ? 'JSON.parse(data).choices[0]?.delta.content ?? ""'
    : 'JSON.parse(data).choices[0]?.text ?? ""';
  const whole = path.endsWith("/chat/completions") ? "choices[0].message.content" : "choices[0].text";
  const reading = body.stream
    ? [
        "let held = \"\";",
        "let text = \"\";",
        "for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {",
        "  const lines = (held + piece).split(\"\\n\");",
        "  held = lines.pop();",
        "  for (const line of lines) {",
        "    if (!line.startsWith(\"data: \")) continue;",
        "    const data = line.slice(6).trim();",
        `    if (data !== "[DONE]") text += ${piece};`,
        "  }",
        "}",
        "console.log(text);",
      ]
    : [`console.log((await answer.json()).${whole});`];
  return [
    `const answer = await fetch(${JSON.stringify(origin + path)}, {`,
    '  method: "POST",',
    "  headers: {",
    ...shown,
    "  },",
    `  body: JSON.stringify(${indented(JSON.stringify(body, null, 2), "  ")}),`,
    "});",
    "if (!answer.ok) throw new Error(await answer.text());",
    ...reading,
    "",
  ].join("\n");
}

/** A copy of a request's body whose texts are cut to `most` characters; left_out(count): what stands for the rest. */
export function cut(value, most, leftOut) {
  if (typeof value === "string") {
    const rest = value.length - most;
    return rest <= 0 ? value : `${value.slice(0, most / 2)}${leftOut(rest)}${value.slice(value.length - most / 2)}`;
  }
  if (Array.isArray(value)) return value.map((item) => cut(item, most, leftOut));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, cut(item, most, leftOut)]));
}

/** For a POSIX shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function indented(text, space) {
  return text.replaceAll("\n", `\n${space}`);
}

/** JSON as Python writes it; its texts are the same in both. */
function literal(value, depth) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = "    ".repeat(depth + 1);
  const items = Array.isArray(value)
    ? value.map((item) => `${inner}${literal(item, depth + 1)},`)
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${literal(item, depth + 1)},`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return items.length ? `${open}\n${items.join("\n")}\n${"    ".repeat(depth)}${close}` : `${open}${close}`;
}
