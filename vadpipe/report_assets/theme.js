// Light, dark, or as the system has it; remembered where the browser lets a page remember.

(() => {
  const button = document.querySelector(".theme");
  const names = ["auto", "light", "dark"];
  const show = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    button.value = name;
    document.dispatchEvent(new Event("theme"));
  };
  const kept = (name) => {
    try {
      if (name) localStorage.setItem("vadpipe-theme", name);
      return localStorage.getItem("vadpipe-theme");
    } catch {
      return null; // a page opened as a file may have no storage
    }
  };
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(button.value) + 1) % names.length];
    kept(next);
    show(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
  button.hidden = false;
  show(names.includes(kept()) ? kept() : "auto");
})();
