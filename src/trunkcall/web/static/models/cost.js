/** What a model would take here, told before it is added. */
import { html, useEffect, useState } from "../lib/html.js";
import { bytes } from "../lib/format.js";
import { sendJson } from "../lib/http.js";
import { t } from "../lib/strings.js";
import { Icon } from "../components/icon.js";

const PAUSE_MS = 600;

/** source: as in the settings, empty for none; entry: more settings; onError: gets an ApiError, or null. */
export function Cost({ source, entry, onError }) {
  const [told, setTold] = useState(null);
  const [asking, setAsking] = useState(false);
  const [failed, setFailed] = useState(false);
  const { source: _, ...rest } = entry;
  const asked = JSON.stringify({ source, settings: rest });
  useEffect(() => {
    setTold(null);
    setFailed(false);
    onError(null);
    if (!source) return undefined;
    const abort = new AbortController();
    setAsking(true);
    const timer = setTimeout(async () => {
      try {
        setTold(await sendJson("/admin/estimate", JSON.parse(asked), { signal: abort.signal }));
      } catch (error) {
        // A plan that fails speaks of a model by a name that it does not have.
        if (error.name === "AbortError") return;
        setFailed(true);
        onError(Object.assign(error, { message: error.message.replace(/^model 'new': /, "") }));
      }
      if (!abort.signal.aborted) setAsking(false);
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
      setAsking(false);
    };
  }, [asked]);
  return html`<section class="cost" aria-labelledby="cost-title" aria-live="polite" aria-busy=${asking}>
    <h3 id="cost-title">${t("models.cost")}</h3>
    ${told
      ? html`<${Told} told=${told} />`
      : html`<p class="faint">
          ${asking && html`<span class="spinner" aria-hidden="true" /> `}
          ${t(`models.cost.${asking ? "asking" : failed ? "failed" : "none"}`)}
        </p>`}
  </section>`;
}

function Told({ told }) {
  if (!told.engine) return html`<p>${t("models.cost.elsewhere")}</p>`;
  const { memory, fits, download } = told;
  const where = told.gpus ? t("models.cost.gpus", { count: told.gpus }) : t("models.cost.machine");
  const free = bytes(Math.max(0, told.rss_free));
  const sizes = { memory: bytes(memory), where, free };
  const need = t(memory ? "models.cost.memory" : "models.cost.unknown", sizes);
  const verdict = fits === null ? "" : t(fits ? "models.cost.fits" : "models.cost.fits_not");
  return html`<p class=${`fits ${fits === null ? "" : fits ? "yes" : "no"}`}>
      <${Icon} name=${fits === null ? "info" : fits ? "check" : "warning"} size=${18} />
      <span>${need} ${verdict}</span>
    </p>
    <dl class="facts wide">
      <div>
        <dt>${t("models.engine")}</dt>
        <dd>${told.engine}<span class="faint">: ${told.why}</span></dd>
      </div>
      ${download !== 0 &&
      html`<div>
        <dt>${t("models.cost.download")}</dt>
        <dd>${download === null ? t("models.unknown") : bytes(download)}</dd>
      </div>`}
      ${told.faster && html`<div><dt>${t("models.faster")}</dt><dd>${told.faster}</dd></div>`}
      ${told.note && html`<div><dt>${t("models.cost.note")}</dt><dd>${told.note}</dd></div>`}
    </dl>`;
}
