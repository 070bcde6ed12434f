/* Search for a page that is read from disk.

The theme searches in a Worker, and browsers refuse to start one for `file:`. There, and only
there, this stands in for it: the same script runs in a hidden frame, and messages go between the
page and the frame as they would between a page and a worker: copied, in order, never at once. */
"use strict";

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #waiting = [];
    #ready = false;

    constructor(url) {
      super();
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const inner = this.#frame.contentWindow;
      inner.document.open();
      inner.document.write("<!doctype html><title>search</title>");
      inner.document.close();
      inner.postMessage = (data) => this.#send(this, data);
      const script = inner.document.createElement("script");
      script.addEventListener("load", () => {
        this.#ready = true;
        for (const data of this.#waiting.splice(0)) this.#send(inner, data);
      });
      script.addEventListener("error", () => {
        this.dispatchEvent(new ErrorEvent("error", { message: `no such script: ${url}` }));
      });
      script.src = new URL(url, location.href).href;
      inner.document.head.append(script);
    }

    postMessage(data) {
      if (this.#ready) this.#send(this.#frame.contentWindow, data);
      else this.#waiting.push(structuredClone(data));
    }

    terminate() {
      this.#frame.remove();
    }

    #send(target, data) {
      const event = new MessageEvent("message", { data: structuredClone(data) });
      setTimeout(() => target.dispatchEvent(event));
    }
  };
}
