import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { openLanguage } from './lib/i18n.svelte';
import { session } from './lib/session.svelte';
import { applyTheme } from './lib/theme.svelte';

applyTheme();
await openLanguage();
await session.open();
mount(App, { target: document.getElementById('app')! });
if ('serviceWorker' in navigator && import.meta.env.PROD) {
  navigator.serviceWorker.register('./sw.js').catch(() => {}); // without it the page works, only not offline
}
